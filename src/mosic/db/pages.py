"""Pages of clips, of which each has a bound in bytes.

A clip may have a megabyte of texts and tags. They are cut where the database has them, so that a page is
small in the memory of the service too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.db.clips import COLUMNS, WHOLE, Clip
from mosic.db.filters import Filters, like_start
from mosic.db.indexed import KEY_LENGTH
from mosic.db.sorting import RELEVANCE, order_of, relevance_values
from mosic.db.tables import clip_plays, clips
from mosic.wire.cursor import SortValue
from mosic.words import TEXTS

MAX_TEXT = 500
"""Characters of each text."""

MAX_TAGS = 4096
"""Bytes of the tags as one JSON object, as PostgreSQL writes it."""

MAX_METADATA = 2048
"""Bytes of an app's own data as PostgreSQL writes it; more of it is left out."""

# Until the end of the transaction. Otherwise PostgreSQL plans a statement from its sixth time on for any
# values: a word in %…% is then looked for in a way that takes ten times as long.
_PLANNED_EACH_TIME = sa.text("SET LOCAL plan_cache_mode = force_custom_plan")

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
)
_NAMES = tuple(str(column.key) for column in _CLIPS.selected_columns)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: the number of the part of its order (`mosic.db.sorting`), the value there, and the
    id."""

    part: int
    value: SortValue | None
    clip_id: UUID


@dataclass(frozen=True, slots=True)
class Page:
    """Some clips in order, and where they end if others follow. Which of them are cut, `complete` says."""

    clips: Sequence[Clip]
    end: Place | None


async def page(
    connection: AsyncConnection, filters: Filters, sort: str, *, limit: int, after: Place | None = None
) -> Page:
    """Up to `limit` of the clips that are meant, in the order `sort`, from just behind `after`."""
    if filters.are_given:
        await connection.execute(_PLANNED_EACH_TIME)
    values = {**filters.values(), "limit": limit + 1}
    if sort == RELEVANCE:
        values |= relevance_values(filters.phrase[:KEY_LENGTH].strip(), like_start(filters.phrase))
    if after is not None:
        values |= {"last_value": after.value, "last_id": after.clip_id}
    reading = _reading(_Shape(filters.shape, filters), sort, None if after is None else after.part)
    rows = (await connection.execute(reading, values)).mappings().all()
    more, rows = len(rows) > limit, rows[:limit]
    last = rows[-1] if more else None
    cut = await _shortest_tags(connection, [row["id"] for row in rows if row["tags"] is None])
    found = [Clip(**{**{name: row[name] for name in _NAMES}, **cut.get(row["id"], {})}) for row in rows]
    return Page(found, Place(last["part"], last["value"], last["id"]) if last else None)


async def some(connection: AsyncConnection, ids: list[UUID]) -> dict[UUID, Clip]:
    """Those of the clips that are in the catalogue, by id, cut as on a page."""
    wanted = _CLIPS.select_from(WHOLE).where(
        clips.c.id == sa.any_(sa.bindparam("ids")), clips.c.deleted_at.is_(None)
    )
    ids_given = wanted.params(ids=ids)
    rows = (await connection.execute(ids_given)).mappings().all()
    cut = await _shortest_tags(connection, [row["id"] for row in rows if row["tags"] is None])
    return {row["id"]: Clip(**{**row, **cut.get(row["id"], {})}) for row in rows}


async def count(connection: AsyncConnection, filters: Filters, most: int) -> int | None:
    """How many clips are meant; None when they are more than `most`."""
    found: int = await connection.scalar(
        _counting(_Shape(filters.shape, filters)), {**filters.values(), "limit": most + 1}
    )
    return found if found <= most else None


@dataclass(frozen=True, slots=True)
class _Shape:
    """Filters as far as they decide what a statement is. Statements are made once for each: to make them and
    look them up among the compiled ones costs more than to run them."""

    shape: tuple[str, ...]
    filters: Filters = field(compare=False)


@lru_cache(maxsize=500)
def _counting(shape: _Shape) -> sa.Select[Any]:
    some = sa.select(sa.literal(1)).select_from(clips).where(*shape.filters.conditions())
    some = some.limit(sa.bindparam("limit"))
    return sa.select(sa.func.count()).select_from(some.subquery())


@lru_cache(maxsize=500)
def _reading(shape: _Shape, sort: str, after_part: int | None) -> sa.Select[Any]:
    """The parts of the order one behind the other, read only as far as the page needs; then all of a clip."""
    order = order_of(sort)
    conditions = list(shape.filters.conditions())
    parts = []
    for number, part in enumerate(order.parts):
        if after_part is not None and number < after_part:
            continue
        value = sa.cast(sa.null(), order.type) if part.key is None else part.key
        some = sa.select(clips.c.id, value.label("value"), sa.literal(number).label("part"))
        if order.by_plays:
            some = some.select_from(clips.join(clip_plays, clip_plays.c.clip_id == clips.c.id))
        some = some.where(*conditions, *([] if part.only is None else [part.only]))
        if number == after_part:
            some = some.where(order.behind(part))
        parts.append(some.order_by(*order.ordered(part)).limit(sa.bindparam("limit")))
    every = sa.union_all(*parts).subquery() if len(parts) > 1 else parts[0].subquery()
    place = sa.func.row_number().over().label("place")
    found = sa.select(every, place).limit(sa.bindparam("limit")).subquery("found")
    return (
        _CLIPS.add_columns(found.c.value, found.c.part)
        .select_from(WHOLE.join(found, found.c.id == clips.c.id))
        .order_by(found.c.place)
    )


async def _shortest_tags(connection: AsyncConnection, ids: list[UUID]) -> dict[UUID, dict[str, Any]]:
    """What is to be said of the clips with too many tags in the place of all."""
    if not ids:
        return {}
    shortest = {row.id: row.tags for row in await connection.execute(_SHORTEST_TAGS, {"ids": ids})}
    # One that is gone by now has none.
    return {clip_id: {"tags": shortest.get(clip_id, {}), "complete": False} for clip_id in ids}
