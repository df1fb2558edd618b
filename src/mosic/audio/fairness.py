"""Which file is probed next, so that no sender makes the others wait.

A sender whose files take long has all processes but one, at most. One whose files never did may have them
all, since then nobody waits for long; should its files prove slow while others wait, one is put off.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SLOW_SECONDS = 1.0
"""A longer probe counts as slow: most take a few milliseconds."""

_SLOW_FOR_SECONDS = 60.0
_MOST_REMEMBERED = 1000


@dataclass(slots=True, eq=False)
class Job:
    """One file, and what is to be done with it: `request` is for the process, which has `seconds` for it."""

    path: Path
    sender: str
    result: asyncio.Future[Any]
    request: bytes = b""
    seconds: float = 0.0
    interrupt: Callable[[], None] | None = None
    """Ends the process that has it; None while it waits."""

    began: float = 0.0
    put_off: bool = False
    """It was stopped in favour of another sender, and waits again. That happens once to a file."""


@dataclass(slots=True)
class _Sender:
    waiting: deque[Job] = field(default_factory=deque)
    running: list[Job] = field(default_factory=list)


class Jobs:
    """The waiting jobs by sender, and the running ones, on `size` processes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._senders: dict[str, _Sender] = {}
        self._slow_until: dict[str, float] = {}
        self._idle: deque[asyncio.Future[None]] = deque()

    def put(self, job: Job) -> None:
        self._senders.setdefault(job.sender, _Sender()).waiting.append(job)
        self._wake()
        asyncio.get_running_loop().call_later(SLOW_SECONDS, self._make_room_for, job)

    async def take(self) -> Job:
        """The next job to run; `done` must follow."""
        while (job := self._next()) is None:
            idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            await idle
        job.began = time.monotonic()
        self._senders[job.sender].running.append(job)
        return job

    def done(self, job: Job) -> None:
        """The job is finished, or waits again because it was postponed."""
        sender = self._senders[job.sender]
        sender.running.remove(job)
        job.interrupt = None
        if time.monotonic() - job.began > SLOW_SECONDS:
            self._remember_slow(job.sender)
        if job.put_off and not job.result.done():
            sender.waiting.append(job)
            # Behind the jobs in whose favour it was stopped.
            self._senders[job.sender] = self._senders.pop(job.sender)
        elif not sender.running and not sender.waiting:
            del self._senders[job.sender]
        self._wake()

    def drain(self) -> list[Job]:
        """Remove and return all waiting jobs."""
        found = [job for sender in self._senders.values() for job in sender.waiting]
        for sender in self._senders.values():
            sender.waiting.clear()
        return found

    def _wake(self) -> None:
        while self._idle:
            idle = self._idle.popleft()
            if not idle.done():
                idle.set_result(None)

    def _next(self) -> Job | None:
        """Of the senders with the fewest running jobs, the one that has waited longest."""
        for name in [name for name, sender in self._senders.items() if sender.waiting]:
            waiting = self._senders[name].waiting
            while waiting and waiting[0].result.done():  # its caller was cancelled
                waiting.popleft()
            if not waiting and not self._senders[name].running:
                del self._senders[name]
        entitled = [
            name
            for name, sender in self._senders.items()
            if sender.waiting and len(sender.running) < self._most(name)
        ]
        if not entitled:
            return None
        name = min(entitled, key=lambda name: len(self._senders[name].running))
        sender = self._senders.pop(name)
        self._senders[name] = sender  # now the last in order
        return sender.waiting.popleft()

    def _most(self, name: str) -> int:
        return max(1, self._size - 1) if self._slow_until.get(name, 0) > time.monotonic() else self._size

    def _remember_slow(self, name: str) -> None:
        now = time.monotonic()
        self._slow_until[name] = now + _SLOW_FOR_SECONDS
        if len(self._slow_until) > _MOST_REMEMBERED:
            self._slow_until = {name: until for name, until in self._slow_until.items() if until > now}

    def _make_room_for(self, job: Job) -> None:
        """Postpone a slow job of a sender that has all processes, if `job` is waiting for a first one."""
        sender = self._senders.get(job.sender)
        if sender is None or job not in sender.waiting or job.result.done() or sender.running:
            return
        now = time.monotonic()
        holders = [other.running for other in self._senders.values() if len(other.running) == self._size]
        slow = [
            running
            for held in holders
            for running in held
            if not running.put_off and running.interrupt is not None and now - running.began >= SLOW_SECONDS
        ]
        if slow:
            youngest = max(slow, key=lambda running: running.began)
            self._remember_slow(youngest.sender)
            youngest.put_off = True
            assert youngest.interrupt is not None
            youngest.interrupt()
        elif holders:
            asyncio.get_running_loop().call_later(SLOW_SECONDS / 4, self._make_room_for, job)
