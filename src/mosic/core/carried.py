"""Chapters and lyrics of a clip."""

from __future__ import annotations

from uuid import UUID

from mosic.core.runtime import Runtime
from mosic.db import carried, clips
from mosic.db.clips import Clip
from mosic.errors import ClipNotFound, NoChapters, NoLyrics
from mosic.wire.chapters import Chapter
from mosic.wire.lrc import Lyrics


async def chapters(rt: Runtime, clip_id: UUID) -> list[Chapter]:
    """In order. Raises `ClipNotFound` and `NoChapters`."""
    _, found, _ = await _read(rt, clip_id)
    if not found:
        raise NoChapters
    return found


async def lyrics(rt: Runtime, clip_id: UUID) -> tuple[Clip, Lyrics]:
    """With the clip that they are of. Raises `ClipNotFound` and `NoLyrics`."""
    clip, _, found = await _read(rt, clip_id)
    if found is None:
        raise NoLyrics
    return clip, found


async def _read(rt: Runtime, clip_id: UUID) -> tuple[Clip, list[Chapter], Lyrics | None]:
    async with rt.begin() as connection:
        clip = await clips.get(connection, clip_id)
        if clip is None:
            raise ClipNotFound
        return clip, *(await carried.get(connection, clip_id))
