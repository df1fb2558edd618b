"""List, get, edit, remove clips, and add external ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
import uuid_utils.compat

from mosic.core.runtime import Runtime
from mosic.db import clips
from mosic.db.clips import Clip, NewClip
from mosic.errors import ClipNotFound, PreconditionFailed
from mosic.wire.conditions import Validators, Verdict, evaluate

_log = structlog.get_logger("mosic.catalog")


@dataclass(frozen=True, slots=True)
class Page:
    """Some clips in order, how many there are in all, and where the next page begins (None: nowhere)."""

    clips: Sequence[Clip]
    total: int
    next_before: UUID | None


async def list_clips(rt: Runtime, *, limit: int, before: UUID | None, sha256: bytes | None) -> Page:
    """The newest first, from just after the clip `before`."""
    async with rt.begin() as connection:
        # One more than asked tells whether there is a next page.
        found, total = await clips.page(connection, limit=limit + 1, before=before, sha256=sha256)
    page = found[:limit]
    return Page(page, total, page[-1].id if len(found) > limit else None)


async def get_clip(rt: Runtime, clip_id: UUID) -> Clip:
    """Raises `ClipNotFound`."""
    async with rt.begin() as connection:
        clip = await clips.get(connection, clip_id)
    if clip is None:
        raise ClipNotFound
    return clip


async def find_by_sha256(rt: Runtime, sha256: bytes) -> Clip | None:
    async with rt.statements() as driver:
        return await clips.find(driver, sha256)


async def add_external(rt: Runtime, *, url: str, **facts: Any) -> Clip:
    """Add a clip whose audio stays where it is; raises `RemoteRefused` for an address not allowed."""
    await rt.remote.check(url)
    new = NewClip(id=uuid_utils.compat.uuid7(), external_url=url, **facts)
    async with rt.statements() as driver:
        clip = await clips.insert(driver, new)
    assert clip is not None  # only a sha256 can collide, and this clip has none
    return clip


async def edit_clip(
    rt: Runtime, clip_id: UUID, changes: Mapping[str, Any], conditions: Mapping[str, str]
) -> Clip:
    """Change the given columns.

    Raises `ClipNotFound`, and `PreconditionFailed` when `conditions` (request fields, RFC 9110 §13) do not
    hold for the clip as it is at that moment: nobody edits in between.
    """
    async with rt.begin() as connection:
        clip = await _get_for_change(rt, connection, clip_id, "PATCH", conditions)
        differing = {name: value for name, value in changes.items() if getattr(clip, name) != value}
        if not differing:
            return clip
        edited = await clips.update(connection, clip_id, differing)
    # This process need not wait until it is told.
    rt.facts.drop(clip_id)
    return edited


async def remove_clip(rt: Runtime, clip_id: UUID, conditions: Mapping[str, str]) -> None:
    """Remove the row, then the bytes: a crash between leaves an orphan blob, never a row without bytes.

    Raises like `edit_clip`.
    """
    async with rt.begin() as connection:
        clip = await _get_for_change(rt, connection, clip_id, "DELETE", conditions)
        await clips.delete(connection, clip_id)
    rt.facts.drop(clip_id)
    if clip.blob_key is not None:
        try:
            await rt.blobs.delete(clip.blob_key)
        except OSError as error:
            # The clip is gone, which is what was asked; its bytes are now an orphan for the sweep.
            _log.warning("blob left to the sweep", blob_key=clip.blob_key, error=str(error))


async def _get_for_change(
    rt: Runtime, connection: Any, clip_id: UUID, method: str, conditions: Mapping[str, str]
) -> Clip:
    clip = await clips.get(connection, clip_id, lock=True)
    if clip is None:
        raise ClipNotFound
    if evaluate(method, conditions, Validators(clip.etag, clip.updated_at)) is not Verdict.PROCEED:
        raise PreconditionFailed
    return clip
