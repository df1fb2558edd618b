"""The bytes of one request to a resumable upload (tus 1.0.0): taken, kept, and made a clip when they are the
last.

Where an upload stands is the size of its staged file. Two writers never mix, in one process or in several:
the file is locked while it is written to (`Staging.append`), and the row holds the token of who may write.
Whoever begins puts its own there in the place of the one it saw, and whoever ends well replaces its own,
inside the lock; both fail when another came in between. So of all who want to write at one offset at most one
is told that it did.

A newcomer that finds the file locked waits a moment: if the file grows, its offset is no longer right; if the
holder lets go, it is its turn; if neither happens the holder is taken for dead and its token replaced, which
it notices (`Fence`) and leaves. No connection to the database is held while bytes flow.

When the file has its whole length only the outcome is left, and whoever finds it so brings that about, under
the lock. The file stays until the outcome is in the row, so a crash anywhere before only means that it is
done again, and `ingest` gives the same bytes the same clip.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from mosic.core.ingest import Hints, ingest
from mosic.core.runtime import Runtime
from mosic.db import uploads
from mosic.db.uploads import Upload
from mosic.errors import (
    ClientDisconnected,
    MosicError,
    OffsetMismatch,
    UnreadableMedia,
    UnsupportedMedia,
    UploadGone,
    UploadInterrupted,
    UploadLocked,
    UploadNotFound,
    UploadStalled,
)
from mosic.staged import StagedWriter
from mosic.wire import tus

if TYPE_CHECKING:
    from hashlib import _Hash

# A holder whose file has not grown for so long is taken for dead. Longer than the tick of `Fence`.
PATIENCE_SECONDS = 0.5
# How long one that was replaced may take to notice, and to bring to the disk what it has.
LET_GO_SECONDS = 5.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class UploadState:
    """Where an upload stands. `clip_id` is what it became; then it does not expire."""

    id: UUID
    offset: int
    length: int | None
    raw_metadata: str
    expires_at: datetime | None
    clip_id: UUID | None

    @classmethod
    def of(cls, upload: Upload, offset: int) -> UploadState:
        expires_at = upload.expires_at if upload.clip_id is None else None
        return cls(upload.id, offset, upload.length, upload.raw_metadata, expires_at, upload.clip_id)


async def append(
    rt: Runtime, upload_id: UUID, request: tus.Append, body: AsyncIterator[bytes]
) -> UploadState:
    """Take the bytes of a request, and make the clip when they are the last.

    What was received before the connection broke is kept, but for bytes with a checksum. Raises
    `UploadNotFound`, `UploadGone`, `OffsetMismatch`, `UploadLocked`, `TooLarge`, `ChecksumMismatch`,
    `MalformedRequest`, `InsufficientStorage`, `Unavailable`, `ClientDisconnected` and, when `body` raises
    `UploadStalled`, `UploadInterrupted`; and `UnsupportedMedia` or `UnreadableMedia` when the bytes are whole
    and no audio: that stays the answer to every later request.
    """
    hasher = request.checksum.hasher() if request.checksum else None
    async with AsyncExitStack() as stack:
        stack.enter_context(rt.fence.expect(upload_id))
        upload, writer = await _take(rt, stack, upload_id, request, hasher)
        if writer is None:
            return UploadState.of(upload, upload.length or 0)
        failure = await _receive(rt, upload, writer, body)
        offset = await writer.sync()
        if request.checksum is not None and hasher is not None:
            if failure is not None:
                raise failure
            request.checksum.verify(hasher)
        whole = offset == upload.length
        ended = await replace_writer(rt, upload, by=uuid4() if whole else None)
        if ended is None:
            raise _taken_over()
        if whole:
            ended = await _finish(rt, ended, writer)
    if whole:
        # Not before its lock is gone: `remove_upload` would interrupt this very request.
        await rt.staging.remove_upload(str(upload_id))
        _raise_refusal(ended)
    elif failure is not None:
        raise failure
    return UploadState.of(ended, offset)


async def finish(rt: Runtime, upload_id: UUID, length: int) -> UploadState:
    """The outcome of an upload that has all its bytes; raises like `append`."""

    async def nothing() -> AsyncIterator[bytes]:
        return
        yield b""

    request = tus.Append(offset=length, length=None, body_size=0, checksum=None)
    return await append(rt, upload_id, request, nothing())


async def read(rt: Runtime, upload_id: UUID) -> tuple[Upload, int]:
    """The row, and the offset at which the upload stands.

    Raises `UploadNotFound`, `UploadGone`, and the refusal of one whose bytes are no audio.
    """
    async with rt.begin() as connection:
        upload = await uploads.get(connection, upload_id)
    if upload is None:
        raise UploadNotFound
    if upload.expired:
        raise UploadGone("This upload has expired.")
    _raise_refusal(upload)
    if upload.clip_id is not None:
        return upload, upload.length or 0
    # After the row: what a writer has ended with is in the file by then.
    return upload, await rt.staging.upload_size(str(upload_id))


async def replace_writer(
    rt: Runtime, upload: Upload, *, by: UUID | None, length: int | None = None
) -> Upload | None:
    """Put a token in the place of the one in `upload`; None when that no longer stands there."""
    async with rt.begin() as connection:
        return await uploads.replace_writer(
            connection,
            upload.id,
            held=upload.writer,
            by=by,
            length=upload.length if length is None else length,
            expiry_seconds=rt.settings.upload_expiry_seconds,
        )


async def _take(
    rt: Runtime, stack: AsyncExitStack, upload_id: UUID, request: tus.Append, hasher: _Hash | None
) -> tuple[Upload, StagedWriter | None]:
    """Become the writer until the stack is closed; no writer when the upload has become a clip."""
    token = uuid4()
    loop = asyncio.get_running_loop()
    started = loop.time()
    replaced = False
    while True:
        upload, offset = await read(rt, upload_id)
        whole = offset == upload.length
        if request.offset != offset or (whole and request.body_size):
            raise OffsetMismatch(f"The upload stands at {offset} bytes.", extra={"offset": offset})
        if upload.clip_id is not None:
            return upload, None
        if replaced and upload.writer != token:
            raise _taken_over()
        length = tus.settle_length(upload.length, request, max_size=rt.settings.max_upload_bytes)
        async with AsyncExitStack() as attempt:
            try:
                writer = await attempt.enter_async_context(
                    rt.staging.append(
                        str(upload_id),
                        offset,
                        limit=rt.settings.max_upload_bytes if length is None else length,
                        declared_size=request.body_size,
                        also=hasher,
                        atomic=hasher is not None,
                    )
                )
            except UploadLocked:
                pass
            else:
                taken = await replace_writer(rt, upload, by=token, length=length)
                if taken is not None:
                    stack.push_async_exit(attempt.pop_all())
                    return taken, writer
        waited = loop.time() - started
        if waited > LET_GO_SECONDS + (rt.settings.probe_timeout_seconds if whole else 0):
            raise UploadLocked
        if waited > PATIENCE_SECONDS and not whole and not replaced:
            replaced = await replace_writer(rt, upload, by=token, length=length) is not None
            if replaced:
                await rt.staging.interrupt(str(upload_id))
        else:
            await asyncio.sleep(POLL_SECONDS)


async def _receive(
    rt: Runtime, upload: Upload, writer: StagedWriter, body: AsyncIterator[bytes]
) -> MosicError | None:
    """Write what comes; returns why it ended too early."""
    assert upload.writer is not None
    with rt.fence.guard(upload.id, upload.writer, writer):
        try:
            async for chunk in body:
                await writer.write(chunk)
        except ClientDisconnected as error:
            return error
        except UploadStalled as error:
            return UploadInterrupted(error.detail)
    return None


async def _finish(rt: Runtime, upload: Upload, writer: StagedWriter) -> Upload:
    """The upload with its outcome. Whatever is raised leaves it whole and without one."""
    staged = await writer.finish()
    async with rt.staging.lend(staged) as lent:
        try:
            clip, created = await ingest(rt, lent, Hints(**upload.hints))
        except (UnsupportedMedia, UnreadableMedia) as error:
            rt.metrics.upload_ended(error.code, staged.size)
            async with rt.begin() as connection:
                settled = await uploads.refuse(connection, upload.id, error.code, error.detail)
        else:
            rt.metrics.upload_ended("created" if created else "duplicate", staged.size)
            async with rt.begin() as connection:
                settled = await uploads.settle(connection, upload.id, clip.id)
    if settled is None:
        raise UploadGone
    return settled


def _raise_refusal(upload: Upload) -> None:
    for error in (UnsupportedMedia, UnreadableMedia):
        if upload.refused_code == error.code:
            raise error(upload.refused_detail)


def _taken_over() -> UploadLocked:
    return UploadLocked("A newer request has taken over this upload.")
