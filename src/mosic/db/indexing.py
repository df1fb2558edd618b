"""Makes what older clips are listed by: those of an earlier version, and those that a backup brought."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.db.clips import JOINED, clip_of
from mosic.db.indexed import INDEX_VERSION, INDEXED, index_values
from mosic.db.tables import clips

_MAKE = (
    sa.update(clips)
    .where(clips.c.id == sa.bindparam("its_id"))
    .values({name: sa.bindparam(name) for name in INDEXED})
)


async def index_older(connection: AsyncConnection, limit: int) -> int:
    """Do it for up to `limit` clips; says how many they were. Those being edited are left out."""
    due = (
        JOINED.where(clips.c.index_version < INDEX_VERSION)
        .limit(limit)
        .with_for_update(of=clips, skip_locked=True)
    )
    found = [clip_of(row) for row in await connection.execute(due)]
    if found:
        await connection.execute(_MAKE, [{"its_id": clip.id, **index_values(clip)} for clip in found])
    return len(found)
