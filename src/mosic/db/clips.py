"""Rows of `clips` (joined with their counters) and the `Clip` they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.db.tables import clip_plays, clips

CHANGED_CHANNEL = "mosic_clips"
"""Here each clip that was edited or removed is named, by the hex form of its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewClip:
    """What is needed to make a row."""

    id: UUID
    title: str
    description: str | None = None
    artist: str | None = None
    album: str | None = None
    album_artist: str | None = None
    genre: str | None = None
    date: str | None = None
    track_number: int | None = None
    disc_number: int | None = None
    duration: float | None = None
    tags: dict[str, list[str]] = field(default_factory=dict)
    file_name: str | None = None
    blob_key: str | None = None
    external_url: str | None = None
    media_type: str | None = None
    codec: str | None = None
    bitrate: int | None = None
    sample_rate: int | None = None
    channels: int | None = None
    size: int | None = None
    sha256: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip(NewClip):
    """A catalogue entry as it was when read."""

    revision: int
    created_at: datetime
    updated_at: datetime
    play_count: int
    bytes_streamed: int
    last_played_at: datetime | None

    @property
    def etag(self) -> str:
        """Strong entity tag of the editable part; counters do not change it (docs/decisions/0004)."""
        return f'"{self.id.hex}-{self.revision}"'


_COLUMNS = (*clips.c, clip_plays.c.play_count, clip_plays.c.bytes_streamed, clip_plays.c.last_played_at)
_JOINED = sa.select(*_COLUMNS).join(clip_plays, clip_plays.c.clip_id == clips.c.id)


def _clip(row: sa.Row[Any]) -> Clip:
    return Clip(**row._mapping)


async def insert(connection: AsyncConnection, new: NewClip) -> Clip | None:
    """Add the clip and its counters; None when a clip with the same sha256 is there already.

    A concurrent insert of the same bytes is waited for, so that None means «committed by another».
    """
    values = {column: getattr(new, column) for column in NewClip.__dataclass_fields__}
    statement = (
        pg_insert(clips)
        .values(values)
        .on_conflict_do_nothing(index_elements=["sha256"])
        .returning(clips.c.id)
    )
    if (await connection.execute(statement)).first() is None:
        return None
    await connection.execute(sa.insert(clip_plays).values(clip_id=new.id))
    return await get(connection, new.id)


async def get(connection: AsyncConnection, clip_id: UUID, *, lock: bool = False) -> Clip | None:
    """The clip; with `lock` nobody else edits or removes it until the transaction ends."""
    statement = _JOINED.where(clips.c.id == clip_id)
    if lock:
        statement = statement.with_for_update(of=clips)
    row = (await connection.execute(statement)).first()
    return _clip(row) if row else None


async def get_by_sha256(connection: AsyncConnection, sha256: bytes) -> Clip | None:
    row = (await connection.execute(_JOINED.where(clips.c.sha256 == sha256))).first()
    return _clip(row) if row else None


async def page(
    connection: AsyncConnection, *, limit: int, before: UUID | None, sha256: bytes | None = None
) -> tuple[list[Clip], int]:
    """Up to `limit` clips older than `before`, the newest first, and how many there are in all."""
    wanted = sa.true() if sha256 is None else clips.c.sha256 == sha256
    total = await connection.scalar(sa.select(sa.func.count()).select_from(clips).where(wanted))
    statement = _JOINED.where(wanted).order_by(clips.c.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(clips.c.id < before)
    rows = (await connection.execute(statement)).all()
    return [_clip(row) for row in rows], total or 0


async def update(connection: AsyncConnection, clip_id: UUID, changes: Mapping[str, Any]) -> Clip:
    """Write the changed columns and a new revision; the clip must be there. Tells `mosic.db.changes`."""
    await connection.execute(
        sa.update(clips)
        .where(clips.c.id == clip_id)
        .values({**changes, "revision": clips.c.revision + 1, "updated_at": sa.func.now()})
    )
    await _tell(connection, clip_id)
    clip = await get(connection, clip_id)
    assert clip is not None
    return clip


async def delete(connection: AsyncConnection, clip_id: UUID) -> None:
    """Remove the row; its counters go with it. Tells `mosic.db.changes`."""
    await connection.execute(sa.delete(clips).where(clips.c.id == clip_id))
    await _tell(connection, clip_id)


async def _tell(connection: AsyncConnection, clip_id: UUID) -> None:
    """PostgreSQL passes it on when the transaction commits, and not at all when it does not."""
    await connection.execute(sa.select(sa.func.pg_notify(CHANGED_CHANNEL, clip_id.hex)))
