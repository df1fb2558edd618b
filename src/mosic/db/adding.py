"""A new clip, and the clip that has some bytes: what an upload asks of the database, each in one request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import asyncpg

from mosic.db.blobs import SWEPT_STATE, BlobSwept
from mosic.db.clips import OWN_ID, Clip, NewClip, OwnIdTaken
from mosic.db.indexed import INDEXED, index_values
from mosic.db.sounds import SOUND_COLUMNS
from mosic.db.tables import clips

_NEW = tuple(name for name in NewClip.__dataclass_fields__ if name not in ("blob_key", "size", "sha256"))
_BLOB = ("blob_key", "sha256", "size", "media_type")
_CLIP = ", ".join(f"clips.{column.name}" for column in clips.c if column.name not in ("media_type", *INDEXED))
_PLAYS = "plays.play_count, plays.bytes_streamed, plays.last_played_at"
_STORED = "blob.size, blob.sha256, blob.media_type"
_ROW = tuple(name for name in _NEW if name not in ("external_url", "media_type"))
_NEW_OR_BLOB = (*_NEW, "blob_key", "sha256", "size")
_OF_WORDS = tuple(name for name in INDEXED if name not in ("index_type", "index_size"))
_INSERTED = (*_ROW, *_OF_WORDS)
_VALUES = ", ".join(f"${number}" for number in range(len(_BLOB) + 1, len(_BLOB) + len(_INSERTED) + 1))
_KINDS, _CHAPTERS, _LYRICS = (f"${len(_BLOB) + len(_INSERTED) + behind}" for behind in (1, 2, 3))
_EXTERNAL = (*_NEW, *INDEXED)
# The update changes nothing: it locks the row, and waits for those who are removing or making it.
_INSERT = f"""
    WITH blob AS (
        INSERT INTO blobs (key, sha256, size, media_type) VALUES ($1, $2, $3, $4)
        ON CONFLICT (sha256) DO UPDATE SET media_type = blobs.media_type RETURNING *
    ), clips AS (
        INSERT INTO clips (blob_key, index_type, index_size, {", ".join(_INSERTED)})
        SELECT blob.key, blob.media_type, blob.size, {_VALUES} FROM blob
        ON CONFLICT (blob_key) DO NOTHING RETURNING *
    ), plays AS (
        INSERT INTO clip_plays (clip_id) SELECT id FROM clips RETURNING *
    ), works AS (
        INSERT INTO works (clip_id, kind) SELECT id, unnest({_KINDS}::text[]) FROM clips
    )
    SELECT {_CLIP}, {_STORED}, {_PLAYS} FROM clips, blob, plays
"""  # noqa: S608
# Most files carry neither chapters nor lyrics, and their uploads pay nothing for them.
_INSERT_CARRYING = _INSERT.replace(
    f"    SELECT {_CLIP}",
    f"""    , carried AS (
        INSERT INTO clip_carried (clip_id, chapters, lyrics)
        SELECT id, {_CHAPTERS}::jsonb, {_LYRICS}::jsonb FROM clips
    )
    SELECT {_CLIP}""",  # noqa: S608
)
_INSERT_EXTERNAL = f"""
    WITH clips AS (
        INSERT INTO clips ({", ".join(_EXTERNAL)})
        VALUES ({", ".join(f"${number}" for number in range(1, len(_EXTERNAL) + 1))}) RETURNING *
    ), plays AS (
        INSERT INTO clip_plays (clip_id) SELECT id FROM clips RETURNING *
    )
    SELECT {_CLIP}, NULL::bigint AS size, NULL::bytea AS sha256, clips.media_type, {_PLAYS} FROM clips, plays
"""  # noqa: S608
_FIND = f"""
    SELECT {_CLIP}, {_STORED}, {_PLAYS}, {", ".join(f"sounds.{name}" for name in SOUND_COLUMNS)}
    FROM blobs blob
    JOIN clips ON clips.blob_key = blob.key JOIN clip_plays plays ON plays.clip_id = clips.id
    LEFT JOIN clip_sounds sounds ON sounds.clip_id = clips.id WHERE blob.sha256 = $1
"""  # noqa: S608
_Carried = tuple[Any, Any]


async def insert(
    driver: asyncpg.Connection, new: NewClip, kinds: Sequence[str] = (), carried: _Carried = (None, None)
) -> Clip | None:
    """Add the clip, its blob and its counters, for good; None when a clip with the same bytes is there
    already. If the bytes are there for something else, the clip gets the key that they have. The works of
    these `kinds` wait from then on, unless its audio is elsewhere. `carried`: see `mosic.db.carried.to_json`.

    A concurrent insert of the same bytes is waited for, so that None means «committed by another». Raises
    `BlobSwept` and `OwnIdTaken`.
    """
    statement, names = (_INSERT, (*_BLOB, *_INSERTED)) if new.blob_key else (_INSERT_EXTERNAL, _EXTERNAL)
    by_name = {name: getattr(new, name) for name in _NEW_OR_BLOB} | index_values(new)
    for name in ("tags", "metadata"):
        by_name[name] = json.dumps(getattr(new, name))
    values = [by_name[name] for name in names]
    if new.blob_key:
        values.append(list(kinds))
        if carried != (None, None):
            statement = _INSERT_CARRYING
            values += [one and json.dumps(one) for one in carried]
    try:
        return _from_driver(await driver.fetchrow(statement, *values))
    except asyncpg.PostgresError as error:
        if error.sqlstate == SWEPT_STATE:
            raise BlobSwept from error
        if getattr(error, "constraint_name", None) == OWN_ID:
            raise OwnIdTaken from error
        raise


async def find(driver: asyncpg.Connection, sha256: bytes) -> Clip | None:
    """The clip that has these bytes, also one in the trash (`deleted_at`)."""
    return _from_driver(await driver.fetchrow(_FIND, sha256))


def _from_driver(row: asyncpg.Record | None) -> Clip | None:
    return None if row is None else Clip(**row)
