"""The process in which uploaded files are read. `isolation.ProbePool` starts it; it only probes.

Standard input is a socket. Each byte that comes through it brings the descriptor of one open file; the
process itself can open none. To standard output it speaks in lines: `ready`, followed by what of
`mosic.audio.confine` the system does not offer; then, for each file, `started` and an answer: a JSON object
with either `audio`, the fields of AudioInfo, or `error` (the code) and `detail`, and with `last` when no more
files will be taken.
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
from encodings.aliases import aliases
from typing import Any, BinaryIO

from mosic.audio.confine import confine
from mosic.audio.probe import probe_open
from mosic.errors import UnreadableMedia, UnsupportedMedia

READY = b"ready"
STARTED = b"started\n"


def main(memory_mb: str, timeout_seconds: str) -> None:
    """Serve until standard input ends, as it also does when the parent is killed."""
    memory = int(memory_mb) << 20
    # Some event loops leave descriptors of the service open in the processes that they start.
    os.closerange(3, min(os.sysconf("SC_OPEN_MAX"), 1 << 16))
    files = socket.socket(fileno=0)
    # Prints go nowhere: the pipe is for results.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    _load_encodings()
    statistics = _open_statistics()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    missing = confine(memory)
    answers.write(b" ".join((READY, *(name.encode() for name in missing))) + b"\n")
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    with contextlib.suppress(BrokenPipeError):
        serve(files, answers, statistics, memory=memory, seconds=float(timeout_seconds))


def _load_encodings() -> None:
    """All that Python has: it looks for each when it is first used, in files that are out of reach then, and
    a file may name any of them."""
    for name in {"utf_8_sig", *aliases.values()}:
        with contextlib.suppress(LookupError):  # of another system
            codecs.lookup(name)


def serve(
    files: socket.socket, answers: BinaryIO, statistics: int | None, *, memory: int, seconds: float
) -> None:
    while True:
        data, descriptors, _, _ = socket.recv_fds(files, 1, 1)
        if not data:
            return
        answers.write(STARTED)
        # The parent ends a probe that takes too long. This alarm does so when the parent is gone.
        signal.setitimer(signal.ITIMER_REAL, seconds + 1)
        with os.fdopen(descriptors[0], "rb") as file:
            answer = _answer(file)
        signal.setitimer(signal.ITIMER_REAL, 0)
        # Memory that was freed is not always given back: a process that grew makes room for a new one.
        answer["last"] = _memory_used(statistics) > memory // 2
        answers.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
        if answer["last"]:
            return


def _answer(file: BinaryIO) -> dict[str, Any]:
    try:
        return {"audio": dataclasses.asdict(probe_open(file))}
    except (UnsupportedMedia, UnreadableMedia) as error:
        return {"error": error.code, "detail": error.detail}


def _open_statistics() -> int | None:
    with contextlib.suppress(OSError):
        return os.open("/proc/self/statm", os.O_RDONLY)
    return None


def _memory_used(statistics: int | None) -> int:
    # Not ru_maxrss: on Linux a new process begins with that of the one it was started by.
    if statistics is None:
        return 0
    return int(os.pread(statistics, 200, 0).split()[1]) * resource.getpagesize()
