"""Pages of clips, of which each has a bound in bytes.

A clip may have a megabyte of texts and tags. They are cut where the database has them, so that a page is
small in the memory of the service too.
"""

from __future__ import annotations

from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.db.clips import COLUMNS, WHOLE, Clip
from mosic.db.tables import blobs, clips
from mosic.words import TEXTS

MAX_TEXT = 500
"""Characters of each text."""

MAX_TAGS = 4096
"""Bytes of the tags as one JSON object, as PostgreSQL writes it."""

MAX_METADATA = 2048
"""Bytes of an app's own data as PostgreSQL writes it; more of it is left out."""

_TEXTS = (*TEXTS, "file_name")
# PostgreSQL knows the size of what it has not compressed without writing it out, which takes at most twice as
# many bytes. (Control characters would take more. Only a backup from elsewhere can have brought them in.)
_FEW_TAGS = sa.or_(
    sa.and_(
        sa.func.pg_column_size(clips.c.tags) <= MAX_TAGS // 2,
        sa.func.pg_column_compression(clips.c.tags).is_(None),
    ),
    sa.func.octet_length(sa.cast(clips.c.tags, sa.Text)) <= MAX_TAGS,
)
# A number may be much longer than it is stored.
_LITTLE_METADATA = sa.func.octet_length(sa.cast(clips.c.metadata, sa.Text)) <= MAX_METADATA
# Of each clip as many as there is room for, the shortest first: name and values, with two characters each.
_SHORTEST_TAGS = sa.text(f"""
    SELECT id, (SELECT coalesce(jsonb_object_agg(name, texts), '{{}}') FROM (
        SELECT name, texts, sum(size) OVER (ORDER BY size, name) AS total FROM (
            SELECT key AS name, value AS texts,
                octet_length(to_json(key)::text) + octet_length(value::text) + 4 AS size
            FROM jsonb_each(tags)
        ) AS sizes
    ) AS totals WHERE total <= {MAX_TAGS - 2})
    FROM clips WHERE id = ANY(:ids)
""").columns(clips.c.id, clips.c.tags)  # noqa: S608


def _cut(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    if column.key in _TEXTS:
        return sa.func.left(column, MAX_TEXT).label(column.key)
    if column.key == "tags":
        return sa.case((_FEW_TAGS, column)).label(column.key)
    if column.key == "metadata":
        return sa.case((_LITTLE_METADATA, column), else_=sa.text("'{}'::jsonb")).label(column.key)
    return column


_longest = sa.func.greatest(*(sa.func.length(clips.c[name]) for name in _TEXTS))
_CLIPS = sa.select(
    *(_cut(column) for column in COLUMNS), sa.and_(_longest <= MAX_TEXT, _LITTLE_METADATA).label("complete")
).select_from(WHOLE)


async def page(
    connection: AsyncConnection,
    *,
    limit: int,
    before: UUID | None,
    sha256: bytes | None = None,
    trashed: bool = False,
) -> tuple[list[Clip], int]:
    """Up to `limit` clips older than `before`, the newest first, and how many there are in all; those in the
    trash instead of those in the catalogue when `trashed` is asked for. Which of them are cut, `complete`
    says."""
    counting, reading = _statements(trashed, sha256 is not None, before is not None)
    values = {"sha256": sha256, "before": before, "limit": limit}
    total: int = await connection.scalar(counting, values)
    rows = (await connection.execute(reading, values)).mappings().all()
    cut = await _shortest_tags(connection, [row["id"] for row in rows if row["tags"] is None])
    return [Clip(**{**row, **cut.get(row["id"], {})}) for row in rows], total


async def some(connection: AsyncConnection, ids: list[UUID]) -> dict[UUID, Clip]:
    """Those of the clips that are in the catalogue, by id, cut as on a page."""
    wanted = _CLIPS.where(clips.c.id == sa.any_(sa.bindparam("ids")), clips.c.deleted_at.is_(None))
    ids_given = wanted.params(ids=ids)
    rows = (await connection.execute(ids_given)).mappings().all()
    cut = await _shortest_tags(connection, [row["id"] for row in rows if row["tags"] is None])
    return {row["id"]: Clip(**{**row, **cut.get(row["id"], {})}) for row in rows}


@cache
def _statements(trashed: bool, by_sha256: bool, has_before: bool) -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Made once: to make them and look them up among the compiled ones costs more than to run them."""
    wanted: list[sa.ColumnElement[bool]] = [
        clips.c.deleted_at.is_not(None) if trashed else clips.c.deleted_at.is_(None)
    ]
    if by_sha256:
        with_bytes = sa.select(blobs.c.key).where(blobs.c.sha256 == sa.bindparam("sha256"))
        wanted.append(clips.c.blob_key == with_bytes.scalar_subquery())
    counting = sa.select(sa.func.count()).select_from(clips).where(*wanted)
    reading = _CLIPS.where(*wanted).order_by(clips.c.id.desc()).limit(sa.bindparam("limit"))
    if has_before:
        reading = reading.where(clips.c.id < sa.bindparam("before"))
    return counting, reading


async def _shortest_tags(connection: AsyncConnection, ids: list[UUID]) -> dict[UUID, dict[str, Any]]:
    """What is to be said of the clips with too many tags in the place of all."""
    if not ids:
        return {}
    shortest = {row.id: row.tags for row in await connection.execute(_SHORTEST_TAGS, {"ids": ids})}
    # One that is gone by now has none.
    return {clip_id: {"tags": shortest.get(clip_id, {}), "complete": False} for clip_id in ids}
