"""List, get, edit, remove clips, and add external ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from mosic.core.changing import delete_blobs, differing_from, get_for_change
from mosic.core.ownids import holder_of, taken
from mosic.core.runtime import Runtime
from mosic.core.trash import move_to_trash, restore_clip
from mosic.db import adding, clips, pages
from mosic.db.clips import Clip, NewClip, OwnIdTaken
from mosic.db.filters import EVERYTHING, Filters
from mosic.db.pages import Place
from mosic.db.sorting import DEFAULT
from mosic.errors import ClipNotFound, RemoteRefused
from mosic.wire.addresses import MAX_URL_LENGTH, ascii_url
from mosic.wire.conditions import Preconditions

# Counting more clips than this would cost more than the page does. What a search finds, each is looked at.
_COUNTED = 10_000
_COUNTED_FOUND = 1_000


@dataclass(frozen=True, slots=True)
class Listed:
    """Some clips in order; how many there are in all, or None when they are too many to count; and where the
    next page begins (None: nowhere)."""

    clips: Sequence[Clip]
    total: int | None
    end: Place | None


async def list_clips(
    rt: Runtime, filters: Filters = EVERYTHING, sort: str = DEFAULT, *, limit: int, after: Place | None = None
) -> Listed:
    """Up to `limit` of the clips that are meant, in the order `sort`, from just behind `after`."""
    async with rt.begin() as connection:
        page = await pages.page(connection, filters, sort, limit=limit, after=after)
        if after is None and page.end is None:
            return Listed(page.clips, len(page.clips), None)
        total = await pages.count(connection, filters, _COUNTED_FOUND if filters.words else _COUNTED)
    return Listed(page.clips, total, page.end)


async def get_clip(rt: Runtime, clip_id: UUID) -> Clip:
    """Raises `ClipNotFound`."""
    async with rt.begin() as connection:
        clip = await clips.get(connection, clip_id)
    if clip is None:
        raise ClipNotFound
    return clip


async def find_by_sha256(rt: Runtime, sha256: bytes) -> Clip | None:
    """The clip that has these bytes, unless it is in the trash."""
    async with rt.statements() as driver:
        clip = await adding.find(driver, sha256)
    return clip if clip is not None and clip.deleted_at is None else None


async def add_external(rt: Runtime, *, url: str, **facts: Any) -> tuple[Clip, bool]:
    """Add a clip whose audio stays where it is; the second value says whether it is new: with the same
    `external_id` the same URL gives the clip that has both, also out of the trash. Raises `RemoteRefused` for
    an address not allowed, and `ExternalIdTaken`."""
    await rt.remote.check(url)
    if len(ascii_url(url) or "") > MAX_URL_LENGTH:
        raise RemoteRefused(
            f"The URL is too long: at most {MAX_URL_LENGTH} characters are allowed, percent-encoded."
        )
    new = NewClip(id=rt.clock.uuid7(), external_url=url, **facts)
    while True:
        try:
            async with rt.statements() as driver:
                clip = await adding.insert(driver, new)
        except OwnIdTaken:
            assert new.external_id is not None
            other = await holder_of(rt, new.external_id)
        else:
            assert clip is not None  # only a sha256 can collide, and this clip has none
            return clip, True
        if other is not None and other.external_url != url:
            raise taken(new.external_id, other)
        if other is not None:
            return (other if other.deleted_at is None else await restore_clip(rt, other.id)), False
        # The clip that had the key was removed between the two statements: try again.


async def edit_clip(
    rt: Runtime, clip_id: UUID, changes: Mapping[str, Any], conditions: Preconditions | None = None
) -> Clip:
    """Change the given columns; `metadata` is a merge patch of its own (RFC 7396), None empties it.

    Raises `ExternalIdTaken`, `InvalidRequest` when the merged metadata is too large, `ClipNotFound`, and
    `PreconditionFailed` when `conditions` (RFC 9110 §13) do not
    hold for the clip as it is at that moment: nobody edits in between.
    """
    try:
        async with rt.begin() as connection:
            clip = await get_for_change(connection, clip_id, "PATCH", conditions)
            differing = differing_from(clip, changes)
            if not differing:
                return clip
            edited = await clips.update(connection, clip_id, differing)
    except OwnIdTaken:
        external_id = changes["external_id"]
        raise taken(external_id, await holder_of(rt, external_id)) from None
    # This process need not wait for the notification.
    rt.facts.drop(clip_id)
    return edited


async def remove_clip(rt: Runtime, clip_id: UUID, conditions: Preconditions | None = None) -> datetime | None:
    """Move the clip to the trash, or remove it where there is none (`MOSIC_TRASH_DAYS=0`). Returns until when
    it can be brought back.

    The row goes before the bytes: a crash between leaves an orphan blob, never a row without bytes. Raises
    like `edit_clip`.
    """
    if rt.settings.trash_days:
        deleted_at = await move_to_trash(rt, clip_id, conditions)
        return deleted_at + timedelta(days=rt.settings.trash_days)
    async with rt.begin() as connection:
        await get_for_change(connection, clip_id, "DELETE", conditions)
        released = await clips.delete(connection, clip_id)
    rt.facts.drop(clip_id)
    await delete_blobs(rt, *released)
    return None
