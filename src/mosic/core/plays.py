"""Group commit of plays: all that arrived while the last commit ran go in one statement."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.db import plays
from mosic.db.plays import Tally
from mosic.errors import Unavailable
from mosic.metrics import Metrics

_log = structlog.get_logger("mosic.plays")

_RETRY_SECONDS = 1.0
# Bytes are not worth a commit of their own: they wait for the next play, or this long.
_BYTES_SECONDS = 5.0


class PlayCounter:
    """Counts plays durably. One per process, started and closed with the runtime."""

    def __init__(
        self,
        begin: Callable[[], AbstractAsyncContextManager[AsyncConnection]],
        metrics: Metrics,
        *,
        wait_seconds: float,
        most_waiting: int,
    ) -> None:
        self._begin = begin
        self._metrics = metrics
        self._wait_seconds = wait_seconds
        self._most_waiting = most_waiting
        self._tallies: dict[UUID, Tally] = {}
        self._waiting = 0
        self._written: asyncio.Future[None] | None = None
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="mosic-plays")

    async def count(self, clip_id: UUID) -> None:
        """Count one play; returns when it is committed.

        When the database is slow or away the wait ends after a while and playing goes on: the play stays in
        memory, up to a bound, and is written when the database is back. Past that bound this raises
        `Unavailable`, since an answered play must never be an uncounted one.
        """
        if self._waiting >= self._most_waiting:
            raise Unavailable("Too many plays wait for the database.")
        self._tallies.setdefault(clip_id, Tally()).plays += 1
        self._waiting += 1
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
        written = self._written
        self._metrics.plays_waiting(self._waiting)
        self._wake.set()
        await asyncio.wait((written,), timeout=self._wait_seconds)

    def add_bytes(self, clip_id: UUID, sent: int) -> None:
        """Add to the clip's `bytes_streamed`, written with the next plays or within seconds."""
        if clip_id in self._tallies or len(self._tallies) < self._most_waiting:
            self._tallies.setdefault(clip_id, Tally()).bytes += sent

    async def close(self) -> None:
        """Write what is waiting and stop; gives up, and says so, when the database is away."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
            self._task = None

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_BYTES_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            closing = self._closing
            if self._tallies and not await self._write():
                if closing:
                    _log.error("plays lost: the database was away at shutdown", plays=self._waiting)
                    return
                await asyncio.sleep(_RETRY_SECONDS)
                self._wake.set()
            elif closing:
                return

    async def _write(self) -> bool:
        """One transaction for all that is waiting; False leaves it waiting."""
        tallies, self._tallies = self._tallies, {}
        written, self._written = self._written, None
        count = sum(tally.plays for tally in tallies.values())
        try:
            async with self._begin() as connection:
                await plays.add(connection, tallies)
        except (Unavailable, DBAPIError) as error:
            _log.warning("plays wait: the database did not take them", plays=count, error=str(error))
            for clip_id, tally in tallies.items():
                later = self._tallies.setdefault(clip_id, Tally())
                later.plays += tally.plays
                later.bytes += tally.bytes
            if written is not None:
                self._merge_waiters(written)
            return False
        self._waiting -= count
        self._metrics.plays_waiting(self._waiting)
        self._metrics.plays_counted(count)
        if written is not None:
            written.set_result(None)
        return True

    def _merge_waiters(self, earlier: asyncio.Future[None]) -> None:
        """Those who waited for the failed write are woken by the next one that succeeds."""
        if self._written is None:
            self._written = earlier
        else:
            self._written.add_done_callback(lambda _: earlier.set_result(None))
