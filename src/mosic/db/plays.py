"""The narrow table of counters: one statement for all plays that arrived together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mosic.db.faults import DRIVER_ERRORS, fault_of
from mosic.db.state import Observer
from mosic.errors import Unavailable

# Rows are locked in the order of their ids, so that two workers counting the same clips cannot deadlock. When
# a row's day changes, a trigger keeps the plays of the day before in `clip_days`: a second INSERT in this
# statement would cost every count a quarter of its time. A clock that was set back changes no day.
_TODAY = "(now() AT TIME ZONE 'UTC')::date"
_ADD = f"""
    WITH added AS MATERIALIZED (
        SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS given (clip_id, plays, bytes)
    ), locked AS MATERIALIZED (
        SELECT clip_id FROM clip_plays WHERE clip_id = ANY ($1) ORDER BY clip_id FOR NO KEY UPDATE
    )
    UPDATE clip_plays AS counted
       SET play_count = counted.play_count + added.plays,
           bytes_streamed = counted.bytes_streamed + added.bytes,
           last_played_at = CASE WHEN added.plays > 0 THEN greatest(counted.last_played_at, now())
                                 ELSE counted.last_played_at END,
           day_plays = CASE WHEN added.plays > 0 AND counted.day < {_TODAY} THEN added.plays
                            ELSE counted.day_plays + added.plays END,
           day = CASE WHEN added.plays > 0 THEN greatest(counted.day, {_TODAY}) ELSE counted.day END
      FROM locked JOIN added USING (clip_id)
     WHERE counted.clip_id = locked.clip_id
"""  # noqa: S608
# A connection that was idle for so long has to answer first: it may have been dropped without a word.
_TRUSTED_SECONDS = 1.0
_PING_SECONDS = 2.0
_CONNECT_SECONDS = 8.0


@dataclass(slots=True)
class Tally:
    """What to add to one clip's counters."""

    plays: int = 0
    bytes: int = 0


class PlayWriter:
    """Adds to the counters over a connection that it keeps to itself: plays are written hundreds of times a
    second, and must not wait for their turn at the pool. For one task."""

    def __init__(self, engine: AsyncEngine, observer: Observer) -> None:
        """`engine` bounds the time of a statement: longer than any lock is held in good order."""
        self._engine = engine
        self._observer = observer
        self._connection: AsyncConnection | None = None
        self._used_at = 0.0

    async def add(self, tallies: Mapping[UUID, Tally]) -> None:
        """Add to the counters of many clips at once, durably; clips that are gone meanwhile are passed over.

        Raises `Unavailable` when the database cannot do it for now. If the connection broke while the
        database was answering, the counts may be written all the same: adding them again then counts them
        twice, which is the lesser evil.
        """
        ids = list(tallies)
        plays = [tallies[clip_id].plays for clip_id in ids]
        sizes = [tallies[clip_id].bytes for clip_id in ids]
        try:
            driver = await self._driver()
            # A statement outside of SQLAlchemy's transactions is one by itself, and a third of the work.
            if driver.shares_session:
                async with driver.transaction():
                    await driver.execute(_ADD, ids, plays, sizes)
            else:
                await driver.execute(_ADD, ids, plays, sizes)
        except BaseException as error:
            await self.close()
            fault = fault_of(error, connecting=True)
            if fault is None:
                raise
            self._observer.failed(fault, error)
            raise Unavailable(fault.sentence) from error
        self._used_at = time.monotonic()
        self._observer.succeeded()

    async def _driver(self) -> Any:
        if self._connection is not None and time.monotonic() - self._used_at > _TRUSTED_SECONDS:
            driver: Any = (await self._connection.get_raw_connection()).driver_connection
            try:
                await driver.execute("SELECT 1", timeout=_PING_SECONDS)
            except DRIVER_ERRORS:
                driver.terminate()
                await self.close()
        if self._connection is None:
            async with asyncio.timeout(_CONNECT_SECONDS):
                self._connection = await self._engine.connect()
        return (await self._connection.get_raw_connection()).driver_connection

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.invalidate()
            await connection.close()
