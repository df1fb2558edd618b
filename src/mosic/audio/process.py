"""One process that runs tasks on the files of strangers: `mosic.audio.worker`, seen from the service."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass
from typing import Any

from mosic.audio.fairness import Job
from mosic.errors import StartupError, UnreadableMedia

CRASHED = "The process that read this file failed."

_LONGEST_LINE = 8 << 20
_MOST_DATA = 64 << 20
_START_SECONDS = 30
# Without `site` a process starts in a fraction of the time; it gets the module path as arguments.
_BOOT = "import sys; sys.path[:] = sys.argv[3:]; from mosic.audio.worker import main; main(*sys.argv[1:3])"
# All that it gets of the environment: no settings, no secrets.
_ENVIRONMENT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
# A process is confined one thread at a time: numpy must not start others before.
_ALWAYS = {"OPENBLAS_NUM_THREADS": "1"}


class TaskFailed(Exception):
    """A task that has no result: `timeout`, `crash`, or the code that the task itself gives, and why in words
    for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a task has found: a JSON value, and bytes for what is no text."""

    value: Any
    data: bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """What the processes of a pool may do."""

    tasks: tuple[str, ...]
    memory_mb: int
    niceness: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one task; `last`: the process must not be used again."""

    outcome: str
    value: TaskResult | TaskFailed
    last: bool

    @classmethod
    def failed(cls, code: str, detail: str, *, last: bool) -> Answer:
        return cls(code, TaskFailed(code, detail), last)


class Worker:
    """A process that runs `mosic.audio.worker`, which documents the messages on the pipes."""

    def __init__(self, process: Process, files: socket.socket) -> None:
        if process.stdout is None or process.stderr is None:
            raise ValueError("the process has no pipes")
        self._process, self._files = process, files
        self._stdout, self._stderr = process.stdout, process.stderr
        self.missing: tuple[str, ...] = ()

    @classmethod
    async def spawn(cls, limits: Limits) -> Worker:
        """A process that is ready, or StartupError."""
        ours, its = socket.socketpair()
        ours.setblocking(False)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _BOOT, ",".join(limits.tasks)),
                json.dumps([limits.memory_mb, limits.niceness]),
                *(path for path in sys.path if path),
                stdin=its.fileno(),
                stdout=PIPE,
                stderr=PIPE,
                env=_ALWAYS | {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                # Ctrl-C in the terminal goes to the group of the service, not to this one.
                start_new_session=True,
                limit=_LONGEST_LINE,
            )
        except BaseException as error:
            ours.close()
            if isinstance(error, OSError):
                raise StartupError(
                    f"The process that reads audio files cannot be started: {error}"
                ) from error
            raise
        finally:
            its.close()
        worker = cls(process, ours)
        ready = b""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_START_SECONDS):
                    ready = await worker._stdout.readline()
            first, *missing = ready.decode(errors="replace").split() or [""]
            if first == "ready":
                worker.missing = tuple(missing)
                return worker
        except BaseException:
            await worker.kill()
            raise
        await worker.kill()
        said = (await worker._stderr.read()).decode(errors="replace").strip()
        raise StartupError(f"The process that reads audio files does not start:\n{said}")

    async def ask(self, job: Job) -> Answer | None:
        """Do one job; None when the process died before it began."""
        try:
            # Here, for the process may not: it gets what is open, and no way to anything else. The file was
            # written a moment ago, so that the system does not have to look for it.
            file = os.open(job.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return Answer.failed("unreadable", UnreadableMedia().detail, last=False)
        try:
            async with asyncio.timeout(job.seconds):
                try:
                    socket.send_fds(self._files, [job.request], [file])
                finally:
                    os.close(file)
                if await self._stdout.readline() != b"started\n":
                    return None
                return await self._read_answer()
        except (ConnectionError, BlockingIOError):
            return None
        except TimeoutError:
            return Answer.failed("timeout", "Reading this file took too long.", last=True)

    async def _read_answer(self) -> Answer:
        try:
            answer = json.loads(await self._stdout.readline())
            if "error" in answer:
                return Answer.failed(answer["error"], answer["detail"], last=answer["last"])
            if answer["size"] > _MOST_DATA:
                raise ValueError("too much data")
            data = await self._stdout.readexactly(answer["size"])
            return Answer("ok", TaskResult(answer["value"], data), answer["last"])
        # Also an endless line, or one that ends in the middle.
        except (ValueError, LookupError, TypeError, AttributeError, EOFError):
            return Answer.failed("crash", CRASHED, last=True)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def kill(self) -> None:
        self.end()
        self._files.close()
        await self._process.wait()
