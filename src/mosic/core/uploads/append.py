"""The bytes of one request to a resumable upload (tus 1.0.0): claimed, received, acknowledged, and made a
clip when they are the last."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

from mosic.core.runtime import Runtime
from mosic.core.uploads.claim import claim
from mosic.core.uploads.finish import finish
from mosic.core.uploads.state import UploadState, raise_refusal
from mosic.db.uploads import Upload
from mosic.errors import (
    ClientDisconnected,
    InsufficientStorage,
    MosicError,
    Unavailable,
    UploadInterrupted,
    UploadStalled,
)
from mosic.staging import Chunk, UploadWriter
from mosic.wire import tus


async def append(
    rt: Runtime, upload_id: UUID, request: tus.Append, body: AsyncIterator[Chunk], sender: str = ""
) -> UploadState:
    """Take the bytes of a request, and make the clip when they are the last. `sender` is for `ingest`.

    What was received before the connection broke is kept, but for bytes with a checksum. Raises
    `UploadNotFound`, `UploadGone`, `OffsetMismatch`, `UploadLocked`, `TooLarge`, `ChecksumMismatch`,
    `MalformedRequest`, `InsufficientStorage`, `Unavailable`, `ClientDisconnected` and, when `body` raises
    `UploadStalled`, `UploadInterrupted`; and, when the bytes are whole, `DigestMismatch` if they are not what
    was declared, `UnsupportedMedia` or `UnreadableMedia` if they are no audio: that stays the answer to every
    later request.
    """
    failure: MosicError | None = None
    not_taken: tuple[str, ...] = ()
    async with claim(rt, upload_id, request) as claimed:
        offset = request.offset
        if claimed.writer is not None:
            offset, failure = await _receive(rt, claimed.upload, claimed.writer, request, body)
            await claimed.acknowledge(rt, offset)
        upload = claimed.upload
        whole = upload.clip_id is None and offset == upload.length
        if whole:
            upload, not_taken = await finish(rt, upload, sender)
    if whole:
        await rt.staging.discard(str(upload.file_id))
        await raise_refusal(rt, upload)
    elif failure is not None:
        raise failure
    return UploadState.of(upload, offset, not_taken)


async def complete(rt: Runtime, upload_id: UUID, length: int) -> UploadState:
    """Bring about the outcome of an upload that has all its bytes; raises like `append`."""

    async def nothing() -> AsyncIterator[bytes]:
        return
        yield b""

    request = tus.Append(offset=length, length=None, body_size=0, checksum=None)
    return await append(rt, upload_id, request, nothing())


async def _receive(
    rt: Runtime, upload: Upload, writer: UploadWriter, request: tus.Append, body: AsyncIterator[Chunk]
) -> tuple[int, MosicError | None]:
    """The offset up to which the upload now survives a crash of the machine, and why the request ended too
    early. With a checksum that is raised: then the bytes count for nothing."""
    failure: MosicError | None = None
    try:
        with rt.watchdog.watching(upload, writer):
            try:
                async for chunk in body:
                    await writer.write(chunk)
            except ClientDisconnected as error:
                failure = error
            except UploadStalled as error:
                failure = UploadInterrupted(error.detail)
        if failure is None or request.checksum is None:
            return await writer.sync(), failure
    except (InsufficientStorage, Unavailable) as error:
        if request.checksum is None:
            return await writer.salvage(), error
        raise
    raise failure
