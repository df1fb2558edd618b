"""The process in which the files of strangers are read. `mosic.audio.process` starts it.

Standard input is a socket. Each line that comes through it brings the descriptor of one open file, and says
in JSON what to do with it: `task`, one of those that the process was started for, its `arguments`, and
`seconds`, the time for it. The process itself can open no file. To standard output it speaks in lines:
`ready`, followed by what of `mosic.audio.confine` the system does not offer; then, for each file, `started`
and an answer: a JSON object with either `value` and `size`, the number of bytes that follow the line, or
`error` (a code) and `detail`, and with `last` when no more files will be taken.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import json
import os
import resource
import signal
import socket
from collections.abc import Callable
from encodings.aliases import aliases
from typing import Any, BinaryIO

from mosic.audio.confine import confine
from mosic.audio.probe import probe_open
from mosic.audio.refused import Refused
from mosic.errors import UnreadableMedia, UnsupportedMedia

READY = b"ready"
STARTED = b"started\n"


Task = Callable[[BinaryIO, dict[str, Any]], tuple[Any, bytes]]


def _probe(file: BinaryIO, arguments: dict[str, Any]) -> tuple[Any, bytes]:
    try:
        return dataclasses.asdict(probe_open(file)), b""
    except (UnsupportedMedia, UnreadableMedia) as error:
        raise Refused(error.code.removesuffix("-media"), error.detail) from None


def _loaded(name: str) -> Task:
    """The task of this name, once all is loaded that it needs."""
    if name == "sound":
        from mosic.audio import sound

        sound.prepare()
        return sound.task
    return {"probe": _probe}[name]


def main(tasks: str, limits: str) -> None:
    """Serve until standard input ends, as it also does when the parent is killed."""
    memory_mb, niceness = json.loads(limits)
    memory = memory_mb << 20
    # Some event loops leave descriptors of the service open in the processes that they start.
    os.closerange(3, min(os.sysconf("SC_OPEN_MAX"), 1 << 16))
    os.nice(niceness)
    files = socket.socket(fileno=0)
    # Prints go nowhere: the pipe is for results.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    _load_encodings()
    loaded = {name: _loaded(name) for name in tasks.split(",")}
    statistics = _open_statistics()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    missing = confine(memory)
    answers.write(b" ".join((READY, *(name.encode() for name in missing))) + b"\n")
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    with contextlib.suppress(BrokenPipeError):
        serve(files, answers, statistics, loaded, memory=memory)


def _load_encodings() -> None:
    """All that Python has: it looks for each when it is first used, in files that are out of reach then, and
    a file may name any of them."""
    for name in {"utf_8_sig", *aliases.values()}:
        with contextlib.suppress(LookupError):  # of another system
            codecs.lookup(name)


def serve(
    files: socket.socket,
    answers: BinaryIO,
    statistics: int | None,
    tasks: dict[str, Task],
    *,
    memory: int,
) -> None:
    while (received := _receive(files)) is not None:
        request, descriptor = received
        answers.write(STARTED)
        # The parent ends a task that takes too long. This alarm does so when the parent is gone.
        signal.setitimer(signal.ITIMER_REAL, request["seconds"] + 1)
        data = b""
        with os.fdopen(descriptor, "rb") as file:
            try:
                value, data = tasks[request["task"]](file, request["arguments"])
                answer = {"value": value, "size": len(data)}
            except Refused as error:
                answer = {"error": error.code, "detail": error.detail}
        signal.setitimer(signal.ITIMER_REAL, 0)
        # Memory that was freed is not always given back: a process that grew makes room for a new one.
        answer["last"] = _memory_used(statistics) > memory // 2
        _write(answers, json.dumps(answer, ensure_ascii=False).encode() + b"\n" + data)
        if answer["last"]:
            return


def _receive(files: socket.socket) -> tuple[dict[str, Any], int] | None:
    """The next request and its file; None at the end."""
    line, descriptors, _, _ = socket.recv_fds(files, 1 << 16, 1)
    while line and not line.endswith(b"\n"):
        more = files.recv(1 << 16)
        if not more:
            return None
        line += more
    return (json.loads(line), descriptors[0]) if line else None


def _write(answers: BinaryIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[answers.write(left) :]


def _open_statistics() -> int | None:
    with contextlib.suppress(OSError):
        return os.open("/proc/self/statm", os.O_RDONLY)
    return None


def _memory_used(statistics: int | None) -> int:
    # Not ru_maxrss: on Linux a new process begins with that of the one it was started by.
    if statistics is None:
        return 0
    return int(os.pread(statistics, 200, 0).split()[1]) * resource.getpagesize()
