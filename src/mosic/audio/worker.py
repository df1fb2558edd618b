"""The process in which the files of strangers are read. `isolation.ProbePool` starts it; it only probes.

It speaks in lines. To standard output: `ready`; then, for each request on standard input, `started` and an
answer. A request is a JSON string, the path; an answer is a JSON object with either `audio`, the fields of
AudioInfo, or `error` (the code) and `detail`, and with `last` when no more requests will be taken.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

from mosic.audio.probe import probe
from mosic.errors import UnreadableMedia, UnsupportedMedia

READY = b"ready\n"
STARTED = b"started\n"
_PR_SET_NO_NEW_PRIVS = 38


def main(memory_mb: str, timeout_seconds: str) -> None:
    """Serve until standard input ends, which it also does when the parent is killed."""
    memory = int(memory_mb) << 20
    # Some event loops leave descriptors of the service open in the processes they start.
    os.closerange(3, min(os.sysconf("SC_OPEN_MAX"), 1 << 16))
    # Whatever prints, prints to nowhere: the pipe is for answers.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    confine(memory)
    answers.write(READY)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    with contextlib.suppress(BrokenPipeError):
        serve(sys.stdin.buffer, answers, memory=memory, seconds=float(timeout_seconds))


def confine(memory: int) -> None:
    """Give up what reading does not need: more memory than that, writing files, starting processes.

    Ctrl-C in the terminal, and a SIGTERM to the whole service, are for the parent to act on.
    """
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: 32,
    }
    for kind, limit in limits.items():
        # Not every system has every limit.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (limit, limit))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def serve(requests: BinaryIO, answers: BinaryIO, *, memory: int, seconds: float) -> None:
    for line in requests:
        answers.write(STARTED)
        # The parent ends a probe that takes too long. This ends it when there is no parent any more.
        signal.setitimer(signal.ITIMER_REAL, seconds + 1)
        answer = _answer(Path(json.loads(line)))
        signal.setitimer(signal.ITIMER_REAL, 0)
        # Memory that was freed is not always given back: a process that grew makes room for a new one.
        answer["last"] = _memory_used() > memory // 2
        answers.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
        if answer["last"]:
            return


def _answer(path: Path) -> dict[str, Any]:
    try:
        return {"audio": dataclasses.asdict(probe(path))}
    except (UnsupportedMedia, UnreadableMedia) as error:
        return {"error": error.code, "detail": error.detail}


def _memory_used() -> int:
    # Not ru_maxrss: on Linux a new process begins with that of the one it was started by.
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return 0
