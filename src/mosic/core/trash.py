"""Deleted clips, kept for some days: nobody hears them, and they can be brought back."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import structlog

from mosic.blobs.base import CopiesBlobs
from mosic.core.changing import delete_blobs, get_for_change, withdraw
from mosic.core.runtime import Runtime
from mosic.db import clips
from mosic.db.blobs import BlobSwept
from mosic.db.clips import Clip
from mosic.errors import BlobMissing, ClipNotFound, InsufficientStorage, Unavailable
from mosic.wire.conditions import Preconditions

_log = structlog.get_logger("mosic.trash")

_AT_ONCE = 100
_ATTEMPTS = 20


async def move_to_trash(rt: Runtime, clip_id: UUID, conditions: Preconditions | None) -> datetime:
    """Take the clip out of the catalogue, but keep it and its bytes; returns when. Raises like
    `get_for_change`.

    Its bytes get another key. What another process still knows of the clip leads to the old one, which is
    gone: so no stream begins once this has returned, as after a removal.
    """
    for _ in range(_ATTEMPTS):
        async with rt.begin() as connection:
            clip = await get_for_change(connection, clip_id, "DELETE", conditions)
        if deleted_at := await _move(rt, clip, conditions):
            return deleted_at
    raise Unavailable("The clip is being changed by other requests. Repeat the request.")


async def _move(rt: Runtime, clip: Clip, conditions: Preconditions | None) -> datetime | None:
    """When it was; None when nothing was changed: the clip has got other bytes meanwhile, or a sweep without
    a grace period has taken the bytes under the other key for an orphan."""
    blob_key = await _under_another_key(rt, clip.blob_key)
    try:
        async with rt.begin() as connection:
            current = await get_for_change(connection, clip.id, "DELETE", conditions)
            deleted_at = None
            if current.blob_key == clip.blob_key:
                deleted_at = (await clips.trash(connection, current, blob_key)).deleted_at
    except BaseException as error:
        if blob_key is not None and blob_key != clip.blob_key:
            await withdraw(rt, blob_key)
        if isinstance(error, BlobSwept):
            return None
        raise
    rt.facts.drop(clip.id)
    if blob_key is not None and clip.blob_key is not None and blob_key != clip.blob_key:
        await delete_blobs(rt, clip.blob_key if deleted_at else blob_key)
    return deleted_at


async def _under_another_key(rt: Runtime, blob_key: str | None) -> str | None:
    if blob_key is None:
        return None
    if not isinstance(rt.blobs, CopiesBlobs):
        return blob_key
    other: str = rt.clock.uuid7().hex
    try:
        await rt.blobs.copy(blob_key, other)
    except (BlobMissing, InsufficientStorage, Unavailable) as error:
        # A clip can be deleted whatever has become of its bytes, and where the disk is full.
        _log.warning("a clip goes to the trash under its old key", blob_key=blob_key, code=error.code)
        return blob_key
    return other


async def restore_clip(rt: Runtime, clip_id: UUID) -> Clip:
    """Restore a clip from the trash; one that is not there is left as it is. Raises `ClipNotFound`."""
    async with rt.begin() as connection:
        clip = await clips.restore(connection, clip_id)
    if clip is None:
        raise ClipNotFound
    rt.facts.drop(clip_id)
    rt.works.made()
    return clip


async def empty(rt: Runtime, *, days: float) -> int:
    """Remove for good what has been in the trash for so long; says how many clips that were."""
    removed = 0
    while True:
        async with rt.begin() as connection:
            purged, released = await clips.purge(connection, days=days, limit=_AT_ONCE)
        await delete_blobs(rt, *released)
        removed += purged
        if purged < _AT_ONCE:
            return removed
