"""The bytes of one request to a resumable upload (tus 1.0.0): taken, kept, and made a clip when they are the
last.

When the file has its whole length only the outcome is left, and whoever finds it so brings that about. The
file stays until the outcome is in the row, so a crash anywhere before only means that it is done again, and
`ingest` gives the same bytes the same clip.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from mosic.core.ingest import Hints, ingest
from mosic.core.runtime import Runtime
from mosic.core.uploads.claim import REFUSALS, Turn, raise_refusal, read, replace_writer, taken_over
from mosic.db import uploads
from mosic.db.uploads import Upload
from mosic.errors import (
    ClientDisconnected,
    DigestMismatch,
    InsufficientStorage,
    MosicError,
    Unavailable,
    UploadGone,
    UploadInterrupted,
    UploadStalled,
)
from mosic.staging import Chunk, StagedFile, StagedWriter
from mosic.wire import tus


@dataclass(frozen=True, slots=True)
class UploadState:
    """Where an upload stands. `clip_id` is what it became; then it does not expire."""

    id: UUID
    offset: int
    length: int | None
    raw_metadata: str
    expires_at: datetime | None
    clip_id: UUID | None
    not_taken: tuple[str, ...] = ()
    """The words sent with the upload that the clip, which was there before, has otherwise. Only the request
    that ended the upload is told."""

    @classmethod
    def of(cls, upload: Upload, offset: int, not_taken: tuple[str, ...] = ()) -> UploadState:
        expires_at = upload.expires_at if upload.clip_id is None else None
        return cls(
            upload.id, offset, upload.length, upload.raw_metadata, expires_at, upload.clip_id, not_taken
        )


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
    hasher = request.checksum.hasher() if request.checksum else None
    failure = None
    not_taken: tuple[str, ...] = ()
    async with AsyncExitStack() as stack:
        stack.enter_context(rt.fence.expect(upload_id))
        ended, writer = await Turn(rt, upload_id, request, hasher).take(stack)
        offset = request.offset
        if writer is not None:
            upload = ended
            try:
                failure = await _receive(rt, upload, writer, body)
                offset = await writer.sync()
            except (InsufficientStorage, Unavailable) as error:
                failure, offset = error, await writer.settle()
            if request.checksum is not None and hasher is not None:
                if failure is not None:
                    raise failure
                request.checksum.verify(hasher)
            by = uuid4() if offset == upload.length else None
            replaced = await replace_writer(rt, upload, by=by, confirmed=offset)
            if replaced is None:
                raise taken_over()
            writer.acknowledge()
            ended = replaced
        whole = ended.clip_id is None and offset == ended.length
        if whole:
            ended, not_taken = await _finish(rt, ended, writer, sender)
    if whole:
        # Not before its lock is gone: `remove_upload` would interrupt this very request.
        await rt.staging.remove_upload(str(ended.file_id))
        raise_refusal(ended)
    elif failure is not None:
        raise failure
    return UploadState.of(ended, offset, not_taken)


async def finish(rt: Runtime, upload_id: UUID, length: int) -> UploadState:
    """The outcome of an upload that has all its bytes; raises like `append`."""

    async def nothing() -> AsyncIterator[bytes]:
        return
        yield b""

    request = tus.Append(offset=length, length=None, body_size=0, checksum=None)
    return await append(rt, upload_id, request, nothing())


async def _receive(
    rt: Runtime, upload: Upload, writer: StagedWriter, body: AsyncIterator[Chunk]
) -> MosicError | None:
    """Write what comes; returns why it ended too early."""
    with rt.fence.guard(upload, writer):
        try:
            async for chunk in body:
                await writer.write(chunk)
        except ClientDisconnected as error:
            return error
        except UploadStalled as error:
            return UploadInterrupted(error.detail)
    return None


async def _finish(
    rt: Runtime, upload: Upload, writer: StagedWriter | None, sender: str
) -> tuple[Upload, tuple[str, ...]]:
    """The upload with its outcome, and the words not taken. Whatever is raised leaves it without one."""
    try:
        staged = await (writer.finish() if writer else rt.staging.whole(str(upload.file_id)))
        async with rt.staging.lend(staged) as lent:
            return await _outcome(rt, upload, lent, sender)
    except FileNotFoundError:
        # Whoever was to bring the outcome about was slow but not stuck, and has removed the file.
        settled, _ = await read(rt, upload.id)
        if settled.clip_id is None:
            raise
        return settled, ()


async def _outcome(
    rt: Runtime, upload: Upload, staged: StagedFile, sender: str
) -> tuple[Upload, tuple[str, ...]]:
    hints = Hints(**upload.hints)
    not_taken: tuple[str, ...] = ()
    try:
        if upload.sha256 is not None and staged.sha256 != upload.sha256.hex():
            raise DigestMismatch(f"The file received has the SHA-256 {staged.sha256}.")
        clip, created = await ingest(rt, staged, hints, sender)
    except REFUSALS as error:
        rt.metrics.uploads.ended(error.code, staged.size)
        async with rt.begin() as connection:
            settled = await uploads.refuse(connection, upload.id, error.code, error.detail)
    else:
        rt.metrics.uploads.ended("created" if created else "duplicate", staged.size)
        async with rt.begin() as connection:
            settled = await uploads.settle(connection, upload.id, clip.id)
        not_taken = () if created else hints.not_taken(clip)
    if settled is None:
        raise UploadGone
    return settled, not_taken
