"""The narrow table of counters: one statement for all plays that arrived together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mosic.db.engine import is_away
from mosic.errors import Unavailable

# Rows are locked in the order of their ids, so that two workers counting the same clips cannot deadlock.
_ADD = """
    WITH added AS MATERIALIZED (
        SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS given (clip_id, plays, bytes)
    ), locked AS MATERIALIZED (
        SELECT clip_id FROM clip_plays WHERE clip_id = ANY ($1) ORDER BY clip_id FOR NO KEY UPDATE
    )
    UPDATE clip_plays AS counted
       SET play_count = counted.play_count + added.plays,
           bytes_streamed = counted.bytes_streamed + added.bytes,
           last_played_at = CASE WHEN added.plays > 0 THEN greatest(counted.last_played_at, now())
                                 ELSE counted.last_played_at END
      FROM locked JOIN added USING (clip_id)
     WHERE counted.clip_id = locked.clip_id
"""
# Longer than any lock is held in good order. What is written then is uncertain: see `PlayWriter.add`.
_SECONDS = 30.0


@dataclass(slots=True)
class Tally:
    """What to add to one clip's counters."""

    plays: int = 0
    bytes: int = 0


class PlayWriter:
    """Adds to the counters over a connection that it keeps to itself: plays are written hundreds of times a
    second, and must not wait for their turn at the pool. For one task."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None

    async def add(self, tallies: Mapping[UUID, Tally]) -> None:
        """Add to the counters of many clips at once, durably; clips that are gone meanwhile are passed over.

        Raises `Unavailable` when the database is away. If the connection broke while the database was
        answering, the counts may be written all the same: adding them again then counts them twice, which is
        the lesser evil.
        """
        ids = list(tallies)
        plays = [tallies[clip_id].plays for clip_id in ids]
        sizes = [tallies[clip_id].bytes for clip_id in ids]
        try:
            if self._connection is None:
                self._connection = await self._engine.connect()
            driver = (await self._connection.get_raw_connection()).driver_connection
            assert driver is not None
            # A statement outside of SQLAlchemy's transactions is one by itself, and a third of the work.
            await driver.execute(_ADD, ids, plays, sizes, timeout=_SECONDS)
        except BaseException as error:
            await self.close()
            if isinstance(error, Exception) and is_away(error):
                raise Unavailable("The database cannot be reached.") from error
            raise

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.invalidate()
            await connection.close()
