"""The clip to which an app has given a key of its own."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.db.clips import Clip, get
from mosic.db.tables import clips


async def find_own(connection: AsyncConnection, external_id: str) -> Clip | None:
    """The clip that has the key, also one in the trash (`deleted_at`)."""
    clip_id = await connection.scalar(sa.select(clips.c.id).where(clips.c.external_id == external_id))
    return None if clip_id is None else await get(connection, clip_id, trashed=True)
