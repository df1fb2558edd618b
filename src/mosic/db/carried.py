"""Chapters and lyrics of clips, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.db.tables import clip_carried, clips
from mosic.wire.chapters import Chapter
from mosic.wire.lrc import Line, Lyrics


def to_json(chapters: Sequence[Chapter], lyrics: Lyrics | None) -> tuple[Any, Any]:
    """What the two columns hold; None for nothing."""
    words = lyrics and {
        "language": lyrics.language,
        "synced": lyrics.synced,
        "lines": [[line.start, line.text] for line in lyrics.lines],
    }
    return [[one.start, one.end, one.title] for one in chapters] or None, words


async def get(connection: AsyncConnection, clip_id: UUID) -> tuple[list[Chapter], Lyrics | None]:
    """What the file of the clip carries. Rows from elsewhere that have another form count as nothing."""
    found = sa.select(clip_carried.c.chapters, clip_carried.c.lyrics).where(clip_carried.c.clip_id == clip_id)
    row = (await connection.execute(found)).first()
    if row is None:
        return [], None
    return _chapters(row.chapters), _lyrics(row.lyrics)


def flags(chapters: Sequence[Chapter], lyrics: Lyrics | None) -> dict[str, bool]:
    """The columns of the clip that say what `put` has written."""
    return {"has_chapters": bool(chapters), "has_lyrics": lyrics is not None}


async def put(
    connection: AsyncConnection, clip_id: UUID, chapters: Sequence[Chapter], lyrics: Lyrics | None
) -> None:
    """Put these in the place of what the clip has; it must be locked. `flags` are the caller's to write."""
    listed, words = to_json(chapters, lyrics)
    if listed is None and words is None:
        await connection.execute(sa.delete(clip_carried).where(clip_carried.c.clip_id == clip_id))
        return
    values = {"chapters": listed, "lyrics": words}
    added = insert(clip_carried).values(clip_id=clip_id, **values)
    await connection.execute(added.on_conflict_do_update(index_elements=["clip_id"], set_=values))


async def learn(
    connection: AsyncConnection, clip_id: UUID, chapters: Sequence[Chapter], lyrics: Lyrics | None
) -> None:
    """The same with the flags, which are no edit: the clip keeps its revision."""
    await put(connection, clip_id, chapters, lyrics)
    await connection.execute(sa.update(clips).where(clips.c.id == clip_id).values(flags(chapters, lyrics)))


def _chapters(value: Any) -> list[Chapter]:
    try:
        return [
            Chapter(float(start), None if end is None else float(end), str(title))
            for start, end, title in value or ()
        ]
    except (TypeError, ValueError):
        return []


def _lyrics(value: Any) -> Lyrics | None:
    try:
        lines = [Line(None if start is None else float(start), str(text)) for start, text in value["lines"]]
        language = value["language"]
        synced = bool(value["synced"]) and all(line.start is not None for line in lines)
        return Lyrics(None if language is None else str(language), synced, lines)
    except (TypeError, ValueError, KeyError):
        return None
