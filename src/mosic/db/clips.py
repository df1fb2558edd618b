"""Rows of `clips` (joined with their counters) and the `Clip` they become."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.db.tables import clip_plays, clips, uploads
from mosic.words import Words

CHANGED_CHANNEL = "mosic_clips"
"""Here each clip that was edited or removed is named, by the hex form of its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewClip(Words):
    """What is needed to make a row."""

    id: UUID
    title: str
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
    deleted_at: datetime | None
    stored_at: datetime | None
    play_count: int
    bytes_streamed: int
    last_played_at: datetime | None
    complete: bool = True
    """False for one on a page (`mosic.db.pages`) that has not all of its texts and tags."""

    @property
    def etag(self) -> str:
        """Strong entity tag of the editable part; counters do not change it (docs/decisions/0004)."""
        return f'"{self.id.hex}-{self.revision}"'


COLUMNS = (*clips.c, clip_plays.c.play_count, clip_plays.c.bytes_streamed, clip_plays.c.last_played_at)
_JOINED = sa.select(*COLUMNS).join(clip_plays, clip_plays.c.clip_id == clips.c.id)


def _clip(row: sa.Row[Any]) -> Clip:
    return Clip(**row._mapping)


# These two are all that an upload asks of the database, in one round trip each.
_NEW = tuple(NewClip.__dataclass_fields__)
_CLIP = ", ".join(f"clips.{column.name}" for column in clips.c)
_PLAYS = "plays.play_count, plays.bytes_streamed, plays.last_played_at"
_VALUES = ", ".join(f"${number}" for number in range(1, len(_NEW) + 1))
_INSERT = f"""
    WITH clips AS (
        INSERT INTO clips ({", ".join(_NEW)}) VALUES ({_VALUES})
        ON CONFLICT (sha256) DO NOTHING RETURNING *
    ), plays AS (
        INSERT INTO clip_plays (clip_id) SELECT id FROM clips RETURNING *
    )
    SELECT {_CLIP}, {_PLAYS} FROM clips, plays
"""  # noqa: S608
_FIND = f"SELECT {_CLIP}, {_PLAYS} FROM clips JOIN clip_plays plays ON clip_id = id WHERE sha256 = $1"  # noqa: S608
# Raised by the function `claim_blob`, which two triggers call.
_SWEPT = "MO001"
_NOT_UNIQUE = "23505"


class BlobSwept(Exception):
    """No clip may have this blob any more: docs/decisions/0006-sweep.md."""


async def insert(driver: asyncpg.Connection, new: NewClip) -> Clip | None:
    """Add the clip and its counters, for good; None when a clip with the same sha256 is there already.

    A concurrent insert of the same bytes is waited for, so that None means «committed by another». Raises
    `BlobSwept`.
    """
    values = [getattr(new, name) for name in _NEW]
    values[_NEW.index("tags")] = json.dumps(new.tags)
    try:
        return _from_driver(await driver.fetchrow(_INSERT, *values))
    except asyncpg.PostgresError as error:
        if error.sqlstate == _SWEPT:
            raise BlobSwept from error
        raise


async def find(driver: asyncpg.Connection, sha256: bytes) -> Clip | None:
    """The clip that has these bytes, also one in the trash (`deleted_at`)."""
    return _from_driver(await driver.fetchrow(_FIND, sha256))


def _from_driver(row: asyncpg.Record | None) -> Clip | None:
    return None if row is None else Clip(**row)


async def get(
    connection: AsyncConnection, clip_id: UUID, *, lock: bool = False, trashed: bool = False
) -> Clip | None:
    """The clip; with `lock` nobody else edits or removes it until the transaction ends. One in the trash only
    when `trashed` is asked for."""
    statement = _JOINED.where(clips.c.id == clip_id)
    if not trashed:
        statement = statement.where(clips.c.deleted_at.is_(None))
    if lock:
        statement = statement.with_for_update(of=clips)
    row = (await connection.execute(statement)).first()
    return _clip(row) if row else None


async def update(connection: AsyncConnection, clip_id: UUID, changes: Mapping[str, Any]) -> Clip:
    """Write the changed columns and a new revision; the clip must be there. Tells `mosic.db.changes`.

    Raises `BlobSwept` for a changed `blob_key`.
    """
    try:
        await connection.execute(
            sa.update(clips)
            .where(clips.c.id == clip_id)
            .values({**changes, "revision": clips.c.revision + 1, "updated_at": sa.func.now()})
        )
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _SWEPT:
            raise BlobSwept from error
        raise
    await _tell(connection, clip_id)
    clip = await get(connection, clip_id, trashed=True)
    assert clip is not None
    return clip


async def replace_bytes(
    connection: AsyncConnection, clip_id: UUID, changes: Mapping[str, Any]
) -> Clip | None:
    """Give the clip other bytes: `changes` has all columns about them. None when another clip has these
    bytes; raises like `update`."""
    try:
        async with connection.begin_nested():
            return await update(connection, clip_id, {**changes, "stored_at": sa.func.now()})
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) != _NOT_UNIQUE:
            raise
        return None


async def trash(connection: AsyncConnection, clip_id: UUID, blob_key: str | None) -> Clip:
    """Put the clip into the trash, with its bytes under another key. What it was made from as a resumable
    upload is forgotten. Returns it as it is then; raises like `update`."""
    await connection.execute(sa.delete(uploads).where(uploads.c.clip_id == clip_id))
    return await update(connection, clip_id, {"deleted_at": sa.func.now(), "blob_key": blob_key})


async def restore(connection: AsyncConnection, clip_id: UUID) -> Clip | None:
    """Take the clip out of the trash, if it is there; None when there is no such clip."""
    clip = await get(connection, clip_id, lock=True, trashed=True)
    if clip is None or clip.deleted_at is None:
        return clip
    return await update(connection, clip_id, {"deleted_at": None})


async def purge(connection: AsyncConnection, *, days: float, limit: int) -> list[str | None]:
    """Remove up to `limit` clips that have been in the trash for so many days, the oldest first; gives the
    `blob_key` of each. Rows that somebody else is working on are passed over."""
    age = sa.func.make_interval(0, 0, 0, 0, 0, 0, days * 86400)
    due = (
        sa.select(clips.c.id)
        .where(clips.c.deleted_at <= sa.func.now() - age)
        .order_by(clips.c.deleted_at, clips.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = (await connection.scalars(due)).all()
    if not ids:
        return []
    removed = sa.delete(clips).where(clips.c.id.in_(ids)).returning(clips.c.blob_key)
    return list((await connection.scalars(removed)).all())


async def delete(connection: AsyncConnection, clip_id: UUID) -> None:
    """Remove the row; its counters go with it. Tells `mosic.db.changes`."""
    await connection.execute(sa.delete(clips).where(clips.c.id == clip_id))
    await _tell(connection, clip_id)


async def _tell(connection: AsyncConnection, clip_id: UUID) -> None:
    """PostgreSQL passes it on when the transaction commits, and not at all when it does not."""
    await connection.execute(sa.select(sa.func.pg_notify(CHANGED_CHANNEL, clip_id.hex)))
