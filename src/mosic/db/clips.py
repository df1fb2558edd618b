"""Rows of `clips` (joined with their counters) and the `Clip` they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.db import blobs as stored
from mosic.db.indexed import INDEXED, index_values, is_indexed
from mosic.db.sounds import SOUND_COLUMNS, forget
from mosic.db.tables import blobs, clip_plays, clip_sounds, clips, uploads, works
from mosic.words import Words

CHANGED_CHANNEL = "mosic_clips"
"""Here each clip that was edited or removed is named, by the hex form of its id."""


class OwnIdTaken(Exception):
    """Another clip has this `external_id`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewClip(Words):
    """What is needed to make a row."""

    id: UUID
    title: str
    duration: float | None = None
    tags: dict[str, list[str]] = field(default_factory=dict)
    file_name: str | None = None
    external_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    blob_key: str | None = None
    external_url: str | None = None
    media_type: str | None = None
    codec: str | None = None
    bitrate: int | None = None
    sample_rate: int | None = None
    channels: int | None = None
    size: int | None = None
    sha256: bytes | None = None
    has_chapters: bool = False
    has_lyrics: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip(NewClip):
    """A catalogue entry as it was when read."""

    revision: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    stored_at: datetime | None
    play_count: int
    bytes_streamed: int
    last_played_at: datetime | None
    integrated_lufs: float | None = None
    range_lu: float | None = None
    true_peak_dbtp: float | None = None
    leading_silence: float | None = None
    trailing_silence: float | None = None
    complete: bool = True
    """False for one on a page (`mosic.db.pages`) that has not all of its texts and tags."""

    @property
    def etag(self) -> str:
        """Strong entity tag of the editable part; counters do not change it (docs/decisions/0004)."""
        return f'"{self.id.hex}-{self.revision}"'


_OF_BLOB = (
    blobs.c.size,
    blobs.c.sha256,
    sa.func.coalesce(blobs.c.media_type, clips.c.media_type).label("media_type"),
)
COLUMNS = (
    *(column for column in clips.c if column.name not in ("media_type", *INDEXED)),
    *_OF_BLOB,
    clip_plays.c.play_count,
    clip_plays.c.bytes_streamed,
    clip_plays.c.last_played_at,
    *(clip_sounds.c[name] for name in SOUND_COLUMNS),
)
WHOLE = (
    clips.join(clip_plays, clip_plays.c.clip_id == clips.c.id)
    .outerjoin(blobs, blobs.c.key == clips.c.blob_key)
    .outerjoin(clip_sounds, clip_sounds.c.clip_id == clips.c.id)
)
"""The tables that a `Clip` is read from."""

JOINED = sa.select(*COLUMNS).select_from(WHOLE)


def clip_of(row: sa.Row[Any]) -> Clip:
    return Clip(**row._mapping)


_NOT_UNIQUE = "23505"
OWN_ID = "uq_clips_external_id"
_NEVER = sa.text("'infinity'::timestamptz")


async def get(
    connection: AsyncConnection, clip_id: UUID, *, lock: bool = False, trashed: bool = False
) -> Clip | None:
    """The clip; with `lock` nobody else edits or removes it until the transaction ends. One in the trash only
    when `trashed` is asked for."""
    statement = JOINED.where(clips.c.id == clip_id)
    if not trashed:
        statement = statement.where(clips.c.deleted_at.is_(None))
    if lock:
        statement = statement.with_for_update(of=clips)
    row = (await connection.execute(statement)).first()
    return clip_of(row) if row else None


async def is_there(connection: AsyncConnection, clip_id: UUID) -> bool:
    """Whether there is such a clip, and not in the trash."""
    found = sa.exists().where(clips.c.id == clip_id, clips.c.deleted_at.is_(None))
    return bool(await connection.scalar(sa.select(found)))


async def update(connection: AsyncConnection, clip_id: UUID, changes: Mapping[str, Any]) -> Clip:
    """Write the changed columns and a new revision; the clip must be there. Notifies `mosic.db.changes`.
    Raises `OwnIdTaken`; the transaction cannot go on then."""
    statement = sa.update(clips).where(clips.c.id == clip_id)
    values = {**changes, "revision": clips.c.revision + 1, "updated_at": sa.func.now()}
    try:
        await connection.execute(statement.values(values))
    except IntegrityError as error:
        if OWN_ID in str(error.orig):
            raise OwnIdTaken from error
        raise
    await _tell(connection, clip_id)
    clip = await get(connection, clip_id, trashed=True)
    assert clip is not None
    if is_indexed(changes):
        await connection.execute(sa.update(clips).where(clips.c.id == clip_id).values(index_values(clip)))
    return clip


async def replace_bytes(
    connection: AsyncConnection, before: Clip, changes: Mapping[str, Any]
) -> tuple[Clip, list[str]] | None:
    """Give the clip other bytes: `changes` has all that is known of them. Returns it as it is then, and the
    keys of blobs that may be removed after the commit; None when another clip has these bytes. Raises
    `BlobSwept`."""
    blob = {name: changes[name] for name in ("sha256", "size", "media_type")}
    rest = {name: value for name, value in changes.items() if name not in (*blob, "blob_key")}
    let_go = await stored.of_clips(connection, [before.id])
    await stored.lock(connection, let_go, and_of=blob["sha256"])
    try:
        async with connection.begin_nested():
            key = await stored.add(connection, changes["blob_key"], **blob)
            of_blob = {"blob_key": key, "media_type": None, "stored_at": sa.func.now()}
            await forget(connection, before.id)
            clip = await update(connection, before.id, {**rest, **of_blob})
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) != _NOT_UNIQUE:
            raise
        return None
    return clip, await stored.release(connection, let_go)


async def trash(connection: AsyncConnection, clip: Clip, blob_key: str | None) -> Clip:
    """Put the clip into the trash, with its bytes under another key. What it was made from as a resumable
    upload is forgotten. Returns it as it is then. Raises `BlobSwept`."""
    await connection.execute(sa.delete(uploads).where(uploads.c.clip_id == clip.id))
    if blob_key is not None and clip.blob_key is not None and blob_key != clip.blob_key:
        await stored.change_key(connection, clip.blob_key, blob_key)
    waiting = sa.and_(works.c.clip_id == clip.id, works.c.state == "waiting")
    await connection.execute(sa.update(works).where(waiting).values(due_at=_NEVER))
    return await update(connection, clip.id, {"deleted_at": sa.func.now()})


async def restore(connection: AsyncConnection, clip_id: UUID) -> Clip | None:
    """Take the clip out of the trash, if it is there; None when there is no such clip."""
    clip = await get(connection, clip_id, lock=True, trashed=True)
    if clip is None or clip.deleted_at is None:
        return clip
    paused = sa.and_(works.c.clip_id == clip_id, works.c.state == "waiting", works.c.due_at == _NEVER)
    await connection.execute(sa.update(works).where(paused).values(due_at=sa.func.now()))
    return await update(connection, clip_id, {"deleted_at": None})


async def purge(connection: AsyncConnection, *, days: float, limit: int) -> tuple[int, list[str]]:
    """Remove up to `limit` clips that have been in the trash for so many days, the oldest first. Returns how
    many, and the keys of blobs that may be removed after the commit. Rows that somebody else is working on
    are passed over."""
    age = sa.func.make_interval(0, 0, 0, 0, 0, 0, days * 86400)
    due = (
        sa.select(clips.c.id)
        .where(clips.c.deleted_at <= sa.func.now() - age)
        .order_by(clips.c.deleted_at, clips.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = (await connection.scalars(due)).all()
    if not found:
        return 0, []
    keys = await stored.of_clips(connection, found)
    await stored.lock(connection, keys)
    await connection.execute(sa.delete(clips).where(clips.c.id.in_(found)))
    return len(found), await stored.release(connection, keys)


async def delete(connection: AsyncConnection, clip_id: UUID) -> list[str]:
    """Remove the row; its counters go with it. Tells `mosic.db.changes`. Returns the keys of blobs that may
    be removed after the commit."""
    keys = await stored.of_clips(connection, [clip_id])
    await stored.lock(connection, keys)
    await connection.execute(sa.delete(clips).where(clips.c.id == clip_id))
    await _tell(connection, clip_id)
    return await stored.release(connection, keys)


async def _tell(connection: AsyncConnection, clip_id: UUID) -> None:
    """PostgreSQL passes it on when the transaction commits, and not at all when it does not."""
    await connection.execute(sa.select(sa.func.pg_notify(CHANGED_CHANNEL, clip_id.hex)))
