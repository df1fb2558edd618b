"""Group commit of plays: all that arrived while the last commit ran go in one statement."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import islice
from uuid import UUID

import structlog

from mosic.background import Background, end
from mosic.db.plays import Tally
from mosic.errors import Unavailable
from mosic.metrics.plays import PlayMetrics

_log = structlog.get_logger("mosic.plays")

_FIRST_PAUSE_SECONDS = 0.1
_PAUSE_SECONDS = 1.0
# What a commit that is under way at the end may take, and one more over a new connection.
_CLOSE_SECONDS = 4.0
_LAST_SECONDS = 6.0
# Bytes are not worth a commit of their own: they wait for the next play of their clip, or this long.
_BYTES_SECONDS = 5.0
# Of so many clips at once, since plays wait for their turn behind them.
_BYTES_CLIPS = 1000


class PlayCounter:
    """Counts plays durably. One per process, started and closed with the runtime."""

    def __init__(
        self,
        write: Callable[[Mapping[UUID, Tally]], Awaitable[None]],
        metrics: PlayMetrics,
        *,
        wait_seconds: float,
        most_waiting: int,
        background: Background,
    ) -> None:
        """`write` adds to the counters, durably; whatever it raises means that it is to be tried again."""
        self._background = background
        self._write = write
        self._metrics = metrics
        self._wait_seconds = wait_seconds
        self._most_waiting = most_waiting
        self._tallies: dict[UUID, Tally] = {}
        self._bytes: dict[UUID, int] = {}
        self._bytes_due = 0.0
        # Counted but not written: in `_tallies`, or in the hands of `write`.
        self._waiting = 0
        # Those who wait for the next commit, those who wait for the one under way, when the first of the
        # former came, and when all of them will have waited long enough.
        self._waiters: list[asyncio.Future[None]] = []
        self._committing: list[asyncio.Future[None]] = []
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._behind = False
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = self._background.start("plays", self._run)

    async def count(self, clip_id: UUID) -> None:
        """Count one play; returns when it is committed.

        When the database is slow or away the wait ends after a while and playing goes on: the play stays in
        memory, up to a bound, and is written when the database is back; until then nobody waits any more.
        Past that bound, and once closed, this raises `Unavailable`: no play is sent that is not counted.
        """
        if self._closing:
            raise Unavailable("The service is stopping.")
        if self._waiting >= self._most_waiting:
            raise Unavailable("Too many plays are waiting to be written to the database.")
        tally = self._tallies.get(clip_id)
        if tally is None:
            tally = self._tallies[clip_id] = Tally()
        tally.plays += 1
        self._waiting += 1
        self._wake.set()
        if self._behind:
            self._metrics.waiting(self._waiting)
            return
        loop = asyncio.get_running_loop()
        if not self._waiters:
            self._since = loop.time()
            if self._timer is None:
                self._timer = loop.call_later(self._wait_seconds, self._fall_behind)
        waiter = loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def add_bytes(self, clip_id: UUID, sent: int) -> None:
        """Add to the clip's `bytes_streamed`, written with the next plays or within seconds."""
        known = self._bytes.get(clip_id)
        if known is not None:
            self._bytes[clip_id] = known + sent
        elif len(self._bytes) < self._most_waiting:
            self._bytes[clip_id] = sent

    async def close(self) -> None:
        """Write what is waiting and stop; gives up, and says so, when the database is away."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=_CLOSE_SECONDS)
            await end(self._task)
            self._task = None
        if self._waiting:
            # The connection may be dead and the database there: once more, over a new one.
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_SECONDS):
                    await self._commit(asyncio.get_running_loop())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for waiter in (*self._committing, *self._waiters):
            if not waiter.done():
                waiter.set_exception(Unavailable("The service is stopping."))
        if self._waiting:
            _log.error("plays lost: they could not be written before the service ended", plays=self._waiting)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                async with asyncio.timeout(_BYTES_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            closing = self._closing
            self._take_bytes(loop.time(), all_of_them=closing)
            if not self._tallies or await self._commit(loop):
                pause = _FIRST_PAUSE_SECONDS
                if closing:
                    return
            elif closing:
                return
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _PAUSE_SECONDS)
                self._wake.set()

    def _take_bytes(self, now: float, *, all_of_them: bool) -> None:
        """Let bytes go with the plays: those of the same clips, and now and then those of others."""
        for clip_id, tally in self._tallies.items():
            tally.bytes += self._bytes.pop(clip_id, 0)
        if now >= self._bytes_due or all_of_them:
            self._bytes_due = now + _BYTES_SECONDS
            most = len(self._bytes) if all_of_them else _BYTES_CLIPS
            for clip_id in list(islice(self._bytes, most)):
                self._tallies[clip_id] = Tally(0, self._bytes.pop(clip_id))

    async def _commit(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Write all that is waiting; False leaves it waiting."""
        tallies, self._tallies = self._tallies, {}
        self._committing, self._waiters = self._waiters, []
        plays = self._waiting
        try:
            await self._write(tallies)
        except BaseException as error:
            for clip_id, tally in tallies.items():
                later = self._tallies.setdefault(clip_id, Tally())
                later.plays += tally.plays
                later.bytes += tally.bytes
            self._committing, self._waiters = [], self._committing + self._waiters
            self._metrics.waiting(self._waiting)
            if not isinstance(error, Exception):
                raise
            # What the database says for itself is in the log already.
            if not self._behind and not isinstance(error, Unavailable):
                _log.warning(
                    "plays could not be written and are kept in memory", plays=plays, error=repr(error)
                )
            return False
        self._waiting -= plays
        self._metrics.counted(plays, late=self._behind)
        self._metrics.waiting(self._waiting)
        if self._behind:
            self._behind = False
            _log.info("plays are written to the database again", plays=plays)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiters:
            self._timer = loop.call_at(self._since + self._wait_seconds, self._fall_behind)
        _release(self._committing)
        return True

    def _fall_behind(self) -> None:
        """The first who waits has waited long enough: all play on, and nobody waits until a commit."""
        self._timer = None
        self._behind = True
        self._metrics.waiting(self._waiting)
        _log.warning("plays wait in memory: the database is slow or unreachable", plays=self._waiting)
        _release(self._committing)
        _release(self._waiters)


def _release(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()
