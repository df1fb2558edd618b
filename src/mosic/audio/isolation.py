"""Probes in processes of their own, with limits of time and memory.

A file may make a tag reader loop, allocate without end or crash. Here that costs this one file a 422 and one
process, which is replaced; neither the service nor another upload notices. Should it take the reader over, it
finds itself in a process that may do next to nothing: `mosic.audio.confine`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mosic.audio.fairness import Job, Jobs
from mosic.audio.info import AudioInfo
from mosic.background import Background
from mosic.errors import MosicError, StartupError, Unavailable, UnreadableMedia, UnsupportedMedia

_LONGEST_LINE = 8 << 20
_START_SECONDS = 30
_STARTS_PER_FILE = 3
# Without `site` a process starts in a fraction of the time; it gets the module path as arguments.
_BOOT = "import sys; sys.path[:] = sys.argv[3:]; from mosic.audio.worker import main; main(*sys.argv[1:3])"
# All that it gets of the environment: no settings, no secrets.
_ENVIRONMENT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class ProbePool:
    """A number of processes that probe; calls beyond it wait in order.

    `on_outcome` is called for each probe with `ok`, `unsupported`, `unreadable`, `timeout` or `crash`, and
    with the seconds it took, waiting not included; it must not raise.
    """

    def __init__(
        self,
        workers: int,
        timeout_seconds: float,
        memory_mb: int,
        *,
        background: Background,
        on_outcome: Callable[[str, float], None] | None = None,
    ) -> None:
        self._background = background
        self._size = workers
        self._timeout = timeout_seconds
        self._memory_mb = memory_mb
        self._on_outcome = on_outcome
        self._jobs = Jobs(workers)
        self._tasks: list[asyncio.Task[None]] = []
        self._workers: set[Worker] = set()
        self._unused: list[Worker] = []
        self.missing: tuple[str, ...] = ()
        """After `start`: what of `mosic.audio.confine` this system does not offer."""

    async def start(self) -> None:
        """Start the processes now, so that a fault shows now; raises StartupError."""
        spawned = await asyncio.gather(*(self._spawn() for _ in range(self._size)), return_exceptions=True)
        for failure in spawned:
            if isinstance(failure, BaseException):
                await self.close()
                raise failure
        self.missing = next(iter(self._workers)).missing
        self._unused = list(self._workers)
        self._tasks = [self._background.start("probes", self._serve) for _ in self._unused]

    async def probe(self, path: Path, sender: str = "") -> AudioInfo:
        """What `mosic.audio.probe.probe` finds in the file.

        Raises UnsupportedMedia and UnreadableMedia as that does; a file that takes too long or that crashes
        its process is unreadable. Raises Unavailable when the pool is closed or no process can be started.
        The caller may be cancelled: what has begun then ends in the background. Files of one `sender` do not
        keep those of others waiting: see `mosic.audio.fairness`.
        """
        if not self._tasks:
            raise Unavailable("Audio files cannot be read: the service is not running.")
        result: asyncio.Future[AudioInfo] = asyncio.get_running_loop().create_future()
        self._jobs.put(Job(path, sender, result))
        return await result

    async def close(self) -> None:
        """End the processes. Calls that still wait get Unavailable."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(self._discard(worker) for worker in list(self._workers)))
        for job in self._jobs.drain():
            _settle(job.result, Unavailable("The service is stopping."))

    async def _serve(self) -> None:
        """Run jobs until cancelled."""
        worker = self._unused.pop() if self._unused else None
        while True:
            job = await self._jobs.take()
            try:
                worker = await self._do(worker, job)
            except BaseException:
                job.put_off = False
                if worker is not None:
                    await self._discard(worker)
                raise
            finally:
                if not job.put_off or job.result.done():
                    _settle(job.result, Unavailable("Audio files cannot be read at the moment. Try again."))
                self._jobs.done(job)

    async def _do(self, worker: Worker | None, job: Job) -> Worker | None:
        """Settle the job, unless it was put off or no process can be started; return the process that can be
        used next."""
        was_put_off = job.put_off
        job.put_off = False
        for _ in range(_STARTS_PER_FILE):
            try:
                worker = worker or await self._spawn()
            except StartupError:
                return None
            began = time.monotonic()
            job.interrupt = None if was_put_off else worker.end
            answer = await worker.ask(job.path, self._timeout)
            job.interrupt = None
            put_off = job.put_off and (answer is None or answer.last)
            if answer is not None and not put_off:
                job.put_off = False
                _settle(job.result, answer.value)
                if self._on_outcome:
                    self._on_outcome(answer.outcome, time.monotonic() - began)
            if answer is None or answer.last:
                await self._discard(worker)
                worker = None
            if answer is not None or put_off:
                break
        return worker

    async def _spawn(self) -> Worker:
        worker = await Worker.spawn(self._memory_mb, self._timeout)
        self._workers.add(worker)
        return worker

    async def _discard(self, worker: Worker) -> None:
        self._workers.discard(worker)
        await worker.kill()


@dataclass(frozen=True, slots=True)
class _Answer:
    """The outcome of one probe; `last`: the process must not be used again."""

    outcome: str
    value: AudioInfo | MosicError
    last: bool


class Worker:
    """A process that runs `mosic.audio.worker`, which documents the messages on the pipes."""

    def __init__(self, process: Process, files: socket.socket) -> None:
        if process.stdout is None or process.stderr is None:
            raise ValueError("the process has no pipes")
        self._process, self._files = process, files
        self._stdout, self._stderr = process.stdout, process.stderr
        self.missing: tuple[str, ...] = ()

    @classmethod
    async def spawn(cls, memory_mb: int, timeout_seconds: float) -> Worker:
        """A process that is ready, or StartupError."""
        ours, its = socket.socketpair()
        ours.setblocking(False)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _BOOT, str(memory_mb), str(timeout_seconds)),
                *(path for path in sys.path if path),
                stdin=its.fileno(),
                stdout=PIPE,
                stderr=PIPE,
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
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

    async def ask(self, path: Path, timeout_seconds: float) -> _Answer | None:
        """Probe one file; None when the process died before it began."""
        try:
            # Here, for the process may not: it gets what is open, and no way to anything else. The file was
            # written a moment ago, so that the system does not have to look for it.
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return _Answer("unreadable", UnreadableMedia(), last=False)
        try:
            async with asyncio.timeout(timeout_seconds):
                try:
                    socket.send_fds(self._files, [b"\n"], [file])
                finally:
                    os.close(file)
                if await self._stdout.readline() != b"started\n":
                    return None
                return _parse(await self._stdout.readline())
        except (ConnectionError, BlockingIOError):
            return None
        except TimeoutError:
            return _Answer("timeout", UnreadableMedia("Reading this file took too long."), last=True)
        except ValueError:  # an endless line
            return _parse(b"")

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def kill(self) -> None:
        self.end()
        self._files.close()
        await self._process.wait()


def _parse(line: bytes) -> _Answer:
    try:
        answer = json.loads(line)
        error = {"unsupported-media": UnsupportedMedia, "unreadable-media": UnreadableMedia}.get(
            answer.get("error")
        )
        if error is not None:
            return _Answer(error.code.removesuffix("-media"), error(answer["detail"]), answer["last"])
        return _Answer("ok", AudioInfo(**answer["audio"]), answer["last"])
    except (ValueError, LookupError, TypeError, AttributeError):
        return _Answer(
            "crash",
            UnreadableMedia("The process that read this file failed."),
            last=True,
        )


def _settle(result: asyncio.Future[AudioInfo], value: AudioInfo | MosicError) -> None:
    if result.done():  # the caller was cancelled
        return
    if isinstance(value, AudioInfo):
        result.set_result(value)
    else:
        result.set_exception(value)
