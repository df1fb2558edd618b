"""Processes that probe, kept from one service of the tests to the next: to start one takes longer than most
tests, and what it read before does not matter to what it reads next."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from mosic.audio.fairness import Job
from mosic.audio.isolation import ProbePool
from mosic.audio.process import Worker


class KeptProbes(ProbePool):
    """As it is, but at the end the processes that wait for a file stay, for the next pool with these limits.

    Those that were at a file, or that are not to be used again, are ended as ever. So are all those of a
    service on another event loop, because a process can only be waited for on the loop that started it.
    """

    loop: ClassVar[asyncio.AbstractEventLoop | None] = None
    """On which processes are kept."""

    _kept: ClassVar[dict[tuple[float, int], list[Worker]]] = {}

    def __init__(self, workers: int, timeout_seconds: float, memory_mb: int, **others: Any) -> None:
        super().__init__(workers, timeout_seconds, memory_mb, **others)
        self._keeps = asyncio.get_running_loop() is self.loop
        kind = timeout_seconds, memory_mb
        self._stock = self._kept.setdefault(kind, []) if self._keeps else []
        self._waiting: set[Worker] = set()

    async def start(self) -> None:
        await super().start()
        self._waiting = set(self._workers)

    async def _spawn(self) -> Worker:
        if not self._stock:
            return await super()._spawn()
        worker = self._stock.pop()
        self._workers.add(worker)
        return worker

    async def _do(self, worker: Worker | None, job: Job) -> Worker | None:
        if worker is not None:
            self._waiting.discard(worker)
        after = await super()._do(worker, job)
        if after is not None:
            self._waiting.add(after)
        return after

    async def _discard(self, worker: Worker) -> None:
        if self._keeps and worker in self._waiting:
            self._waiting.discard(worker)
            self._workers.discard(worker)
            self._stock.append(worker)
        else:
            await super()._discard(worker)

    @classmethod
    async def end_all(cls) -> None:
        """End those that no service has at the moment."""
        kept = [worker for stock in cls._kept.values() for worker in stock]
        for stock in cls._kept.values():
            stock.clear()
        await asyncio.gather(*(worker.kill() for worker in kept))
