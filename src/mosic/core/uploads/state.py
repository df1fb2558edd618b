"""The state of a resumable upload: what its row says, and what the upload area has of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from mosic.core.ownids import holder_of
from mosic.core.runtime import Runtime
from mosic.db import uploads
from mosic.db.uploads import Upload
from mosic.errors import (
    DigestMismatch,
    ExternalIdTaken,
    InsufficientStorage,
    Unavailable,
    UnreadableMedia,
    UnsupportedMedia,
    UploadGone,
    UploadNotFound,
)

REFUSALS = (DigestMismatch, UnsupportedMedia, UnreadableMedia, ExternalIdTaken)
"""What the bytes of a whole upload may be refused for."""


@dataclass(frozen=True, slots=True)
class UploadState:
    """The state of an upload. `clip_id` is the clip that it became; then it does not expire."""

    id: UUID
    offset: int
    length: int | None
    raw_metadata: str
    expires_at: datetime | None
    clip_id: UUID | None
    not_taken: tuple[str, ...] = ()
    """The words sent with the upload that the clip, which was there before, has otherwise. Only the response
    to the request that ended the upload says so."""

    @classmethod
    def of(cls, upload: Upload, offset: int, not_taken: tuple[str, ...] = ()) -> UploadState:
        expires_at = upload.expires_at if upload.clip_id is None else None
        return cls(
            upload.id, offset, upload.length, upload.raw_metadata, expires_at, upload.clip_id, not_taken
        )


async def read(rt: Runtime, upload_id: UUID) -> tuple[Upload, int]:
    """The row of the upload, and its offset.

    Raises `UploadNotFound`, `UploadGone`, and the refusal of one whose bytes made no clip.
    """
    async with rt.begin() as connection:
        upload = await uploads.get(connection, upload_id)
    if upload is None:
        raise UploadNotFound
    if upload.expired:
        raise UploadGone("This upload has expired.")
    await raise_refusal(rt, upload)
    if upload.clip_id is not None:
        return upload, upload.length or 0
    return upload, await _offset_of(rt, upload)


async def _offset_of(rt: Runtime, upload: Upload) -> int:
    """Where an upload without an outcome can go on: never more than survives a crash of the machine."""
    # After the row was read: what a writer has ended with is in the area by then.
    size = await rt.staging.size(str(upload.file_id))
    if size <= upload.confirmed:
        return size
    if upload.rest_counts:
        try:
            return await rt.staging.confirm(str(upload.file_id))
        except (InsufficientStorage, Unavailable):
            # A kernel may report this only once, so that the next attempt would find nothing wrong.
            async with rt.begin() as connection:
                await uploads.count_no_rest(connection, upload)
    return upload.confirmed


async def raise_refusal(rt: Runtime, upload: Upload) -> None:
    """Nothing happens where the upload was not refused."""
    for error in REFUSALS:
        if upload.refused_code == error.code:
            extra = None
            if error is ExternalIdTaken and (other := await holder_of(rt, upload.hints["external_id"])):
                extra = {"clip_id": str(other.id)}
            raise error(upload.refused_detail, extra=extra)
