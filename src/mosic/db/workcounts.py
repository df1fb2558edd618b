"""Numbers of works, for those who watch them."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.db.works import AGAIN, Count, Failed

_COUNTS = sa.text(
    "SELECT kind, state, count(*) AS count, coalesce(extract(epoch FROM now() - min(due_at) FILTER"
    " (WHERE state = 'waiting' AND due_at <= now())), 0)::float8 AS oldest_seconds"
    " FROM works GROUP BY kind, state ORDER BY kind, state LIMIT 200"
)
_LEFT = sa.text(
    "SELECT count(*) FROM works WHERE state IN ('waiting', 'running') AND kind = :kind"
    " AND priority = :again AND due_at < 'infinity'"
)
_FAILED = sa.text(
    "SELECT clip_id, title, code, detail FROM works JOIN clips ON id = clip_id WHERE kind = :kind"
    " AND state = 'failed' AND works.priority = :again AND works.updated_at >= :since"
    " ORDER BY clip_id LIMIT :limit"
)


async def counts(connection: AsyncConnection) -> list[Count]:
    """Of the kinds that there are rows of, fifty at least. Reads the whole table: not for a request."""
    return [Count(**row._mapping) for row in await connection.execute(_COUNTS)]


async def left(connection: AsyncConnection, kind: str) -> int:
    """How many of those that a whole library needs again are not done; those in the trash do not count."""
    return int(await connection.scalar(_LEFT, {"kind": kind, "again": AGAIN}) or 0)


async def now(connection: AsyncConnection) -> datetime:
    """What the database's clock says."""
    found: datetime | None = await connection.scalar(sa.select(sa.func.now()))
    assert found is not None
    return found


async def failed_since(connection: AsyncConnection, kind: str, since: datetime, limit: int) -> list[Failed]:
    """Those of the same that have failed since then."""
    given = {"kind": kind, "again": AGAIN, "since": since, "limit": limit}
    return [Failed(**row._mapping) for row in await connection.execute(_FAILED, given)]
