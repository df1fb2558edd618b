"""The catalogue as a whole, for those who watch it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.db.tables import blobs, clip_plays, clips


@dataclass(frozen=True, slots=True)
class Totals:
    """Over all clips but those in the trash; `stored_bytes` is of those whose bytes are in the store."""

    clips: int
    stored_bytes: int
    plays: int
    streamed_bytes: int


async def totals(connection: AsyncConnection) -> Totals:
    """Reads these tables from end to end: not for a request."""
    counted = (
        await connection.execute(
            sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(blobs.c.size), 0))
            .select_from(clips.outerjoin(blobs, blobs.c.key == clips.c.blob_key))
            .where(clips.c.deleted_at.is_(None))
        )
    ).one()
    played = (
        await connection.execute(
            sa.select(
                sa.func.coalesce(sa.func.sum(clip_plays.c.play_count), 0),
                sa.func.coalesce(sa.func.sum(clip_plays.c.bytes_streamed), 0),
            )
        )
    ).one()
    return Totals(*(int(value) for value in (*counted, *played)))


async def most_played(connection: AsyncConnection, count: int) -> list[tuple[UUID, str, int]]:
    """Id, title and plays of the clips that have most, those that have none left out.

    Reads the narrow table from end to end: an index on the counter would have to be changed by each play.
    """
    top = (
        sa.select(clip_plays.c.clip_id, clip_plays.c.play_count)
        .where(clip_plays.c.play_count > 0)
        .order_by(clip_plays.c.play_count.desc(), clip_plays.c.clip_id)
        .limit(count)
        .subquery()
    )
    rows = await connection.execute(
        sa.select(clips.c.id, clips.c.title, top.c.play_count)
        .join(top, top.c.clip_id == clips.c.id)
        .where(clips.c.deleted_at.is_(None))
        .order_by(top.c.play_count.desc(), clips.c.id)
    )
    return [(row[0], row[1], row[2]) for row in rows]
