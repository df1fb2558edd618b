"""What all that changes a clip has in common: preconditions, and bytes that come and go with the row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog

from mosic.core.runtime import Runtime
from mosic.db import blobs, clips
from mosic.db.clips import Clip
from mosic.errors import ClipNotFound, InvalidRequest, PreconditionFailed, Unavailable
from mosic.wire.conditions import Preconditions, Validators, Verdict, evaluate
from mosic.wire.owndata import merged, own_data, same_data

_log = structlog.get_logger("mosic.catalog")


async def get_for_change(
    connection: Any, clip_id: UUID, method: str, conditions: Preconditions | None
) -> Clip:
    """The clip, which nobody else changes until the transaction ends.

    Raises `ClipNotFound`, and `PreconditionFailed` when `conditions` (RFC 9110 §13) do not
    hold.
    """
    clip = await clips.get(connection, clip_id, lock=True)
    if clip is None:
        raise ClipNotFound
    if evaluate(method, conditions, Validators(clip.etag, clip.updated_at)) is not Verdict.PROCEED:
        raise PreconditionFailed
    return clip


def differing_from(clip: Clip, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that an edit changes, with their values. `metadata` is a merge patch; raises
    `InvalidRequest` when the result is more than a clip may have."""
    columns = dict(changes)
    if "metadata" in columns:
        patch = columns.pop("metadata")
        try:
            data = {} if patch is None else own_data(merged(clip.metadata, patch))
        except ValueError as error:
            raise InvalidRequest(
                f"metadata: with what is there it {error}.",
                errors=[{"loc": ["body", "metadata"], "msg": str(error)}],
            ) from None
        if not same_data(data, clip.metadata):
            columns["metadata"] = data
    return {
        name: value for name, value in columns.items() if name == "metadata" or getattr(clip, name) != value
    }


async def delete_blobs(rt: Runtime, *blob_keys: str) -> None:
    """Remove bytes that have no row any more. What cannot be removed is an orphan, for the sweep."""
    for blob_key in blob_keys:
        try:
            await rt.blobs.delete(blob_key)
        except OSError as error:
            _log.warning("blob left to the sweep", blob_key=blob_key, error=str(error))


async def keep_one(rt: Runtime, clip: Clip, blob_key: str) -> Clip:
    """The bytes of the clip were just stored under `blob_key`, and its row may know them under another key:
    remove those that are not needed. Where the store has lost the others, or has them in another size, the
    row gets the new key. Returns the clip as it is then. Raises `BlobSwept` and `Unavailable`.
    """
    if clip.blob_key is None or clip.blob_key == blob_key:
        return clip
    stat = await rt.blobs.stat(clip.blob_key)
    if stat is None or stat.size != clip.size:
        async with rt.begin() as connection:
            now = await clips.get(connection, clip.id, lock=True, trashed=True)
            moved = now is not None and now.blob_key == clip.blob_key
            if moved:
                await blobs.change_key(connection, clip.blob_key, blob_key)
                now = await clips.update(connection, clip.id, {})
        if moved:
            rt.facts.drop(clip.id)
            rt.metrics.blobs.unusable("restored")
            _log.warning(
                "a blob that the store had lost was uploaded again",
                clip_id=str(clip.id),
                blob_key=blob_key,
            )
        if now is not None:
            clip = now
    if clip.blob_key != blob_key:
        await delete_blobs(rt, blob_key)
    return clip


async def withdraw(rt: Runtime, blob_key: str) -> None:
    """Remove what a failed publication may have left, unless a clip has it or may yet come to have it: the
    connection may have broken while the commit was on its way."""
    try:
        async with rt.begin() as connection:
            free = await blobs.mark_swept(connection, [blob_key])
        if free:
            await rt.blobs.delete(blob_key)
    except (Unavailable, OSError) as error:
        _log.warning("blob left to the sweep", blob_key=blob_key, error=str(error))
