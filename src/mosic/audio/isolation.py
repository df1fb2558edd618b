"""Tasks on files in processes of their own, with limits of time and memory.

A file may make a reader loop, allocate without end or crash. Here that costs this one file its result (an
upload gets 422) and one process, which is replaced; neither the service nor another upload notices. Should it
take the reader over, it finds itself in a process that may do next to nothing: `mosic.audio.confine`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mosic.audio.fairness import Job, Jobs
from mosic.audio.info import AudioInfo
from mosic.audio.process import CRASHED, Limits, TaskFailed, TaskResult, Worker
from mosic.background import Background
from mosic.errors import StartupError, Unavailable, UnreadableMedia, UnsupportedMedia

PROBE = "probe"

_STARTS_PER_FILE = 3


class TaskPool:
    """A number of processes that run tasks of `mosic.audio.worker`, each on one open file; calls beyond it
    wait in order.

    `on_outcome` is called for each task with `ok`, or the code of its failure, and with the seconds it took,
    waiting not included; it must not raise. Processes of a higher `niceness` leave the processor to others.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        workers: int,
        timeout_seconds: float,
        memory_mb: int,
        *,
        background: Background,
        niceness: int = 0,
        on_outcome: Callable[[str, float], None] | None = None,
    ) -> None:
        self._background = background
        self._size = workers
        self._timeout = timeout_seconds
        self._limits = Limits(tuple(tasks), memory_mb, niceness)
        self._on_outcome = on_outcome
        self._jobs = Jobs(workers)
        self._tasks: list[asyncio.Task[None]] = []
        self._workers: set[Worker] = set()
        self._unused: list[Worker] = []
        self.missing: tuple[str, ...] = ()
        """After `start`: what of `mosic.audio.confine` this system does not offer."""

    def start_when_needed(self) -> None:
        """`start`, but each process is started for the first file that it gets. `missing` stays empty."""
        self._tasks = [self._background.start("probes", self._serve) for _ in range(self._size)]

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

    async def run(
        self,
        task: str,
        path: Path,
        arguments: Mapping[str, Any] | None = None,
        *,
        sender: str = "",
        seconds: float | None = None,
    ) -> TaskResult:
        """What the task finds in the file; `arguments` are its own, and `seconds` the time it may take, by
        default that of the pool.

        Raises TaskFailed, and Unavailable when the pool is closed or no process can be started. The caller
        may be cancelled: what has begun then ends in the background. Files of one `sender` do not keep those
        of others waiting: see `mosic.audio.fairness`.
        """
        if not self._tasks:
            raise Unavailable("Audio files cannot be read: the service is not running.")
        result: asyncio.Future[TaskResult] = asyncio.get_running_loop().create_future()
        limit = self._timeout if seconds is None else seconds
        request = json.dumps({"task": task, "seconds": limit, "arguments": dict(arguments or {})})
        self._jobs.put(Job(path, sender, result, request.encode() + b"\n", limit))
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
            answer = await worker.ask(job)
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
        worker = await Worker.spawn(self._limits)
        self._workers.add(worker)
        return worker

    async def _discard(self, worker: Worker) -> None:
        self._workers.discard(worker)
        await worker.kill()


class ProbePool(TaskPool):
    """Processes that probe. Outcomes are `ok`, `unsupported`, `unreadable`, `timeout` and `crash`."""

    def __init__(self, workers: int, timeout_seconds: float, memory_mb: int, **others: Any) -> None:
        """`others` as for `TaskPool`."""
        super().__init__((PROBE,), workers, timeout_seconds, memory_mb, **others)

    async def probe(self, path: Path, sender: str = "") -> AudioInfo:
        """What `mosic.audio.probe.probe` finds in the file.

        Raises UnsupportedMedia and UnreadableMedia as that does; a file that takes too long or that crashes
        its process is unreadable. Raises Unavailable like `run`, which says what else is promised.
        """
        try:
            found = await self.run(PROBE, path, sender=sender)
            return AudioInfo.of(found.value)
        except TaskFailed as error:
            if error.code == UnsupportedMedia.code.removesuffix("-media"):
                raise UnsupportedMedia(error.detail) from None
            raise UnreadableMedia(error.detail) from None
        except (TypeError, KeyError, AttributeError):
            raise UnreadableMedia(CRASHED) from None


def _settle(result: asyncio.Future[TaskResult], value: TaskResult | Exception) -> None:
    if result.done():  # the caller was cancelled
        return
    if isinstance(value, TaskResult):
        result.set_result(value)
    else:
        result.set_exception(value)
