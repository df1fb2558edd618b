"""Whose turn it is to write to a resumable upload: docs/decisions/0008-tus-writers.md."""

from __future__ import annotations

import asyncio
import math
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from mosic.core.runtime import Runtime
from mosic.core.uploads.promises import admit_length, room_for_promises
from mosic.db import uploads
from mosic.db.uploads import Upload
from mosic.errors import (
    DigestMismatch,
    InsufficientStorage,
    OffsetMismatch,
    Unavailable,
    UnreadableMedia,
    UnsupportedMedia,
    UploadGone,
    UploadLocked,
    UploadNotFound,
)
from mosic.staging import StagedWriter
from mosic.wire import tus

if TYPE_CHECKING:
    from hashlib import _Hash

# A holder whose file has not grown for so long is taken for dead. Longer than the tick of `Fence`.
PATIENCE_SECONDS = 0.5
# How long one that was replaced may take to notice and to let go. After that it keeps its file to itself.
LET_GO_SECONDS = 1.0
# How long another process may take to make the clip before this one does it as well.
OUTCOME_SECONDS = 5.0
POLL_SECONDS = 0.05
# What the bytes of a whole upload may be refused for.
REFUSALS = (DigestMismatch, UnsupportedMedia, UnreadableMedia)


async def read(rt: Runtime, upload_id: UUID) -> tuple[Upload, int]:
    """The row, and the offset at which the upload stands.

    Raises `UploadNotFound`, `UploadGone`, and the refusal of one whose bytes made no clip.
    """
    async with rt.begin() as connection:
        upload = await uploads.get(connection, upload_id)
    if upload is None:
        raise UploadNotFound
    if upload.expired:
        raise UploadGone("This upload has expired.")
    raise_refusal(upload)
    if upload.clip_id is not None:
        return upload, upload.length or 0
    return upload, await standing(rt, upload)


async def standing(rt: Runtime, upload: Upload) -> int:
    """The offset at which an upload without an outcome can go on: never more than is on the disk for good."""
    # After the row: what a writer has ended with is in the file by then.
    size = await rt.staging.upload_size(str(upload.file_id))
    if size <= upload.confirmed:
        return size
    if upload.rest_counts:
        try:
            return await rt.staging.confirm(str(upload.file_id))
        except (InsufficientStorage, Unavailable):
            # The kernel may tell this once only, so that the next look would find nothing wrong.
            async with rt.begin() as connection:
                await uploads.count_no_rest(connection, upload)
    return upload.confirmed


def raise_refusal(upload: Upload) -> None:
    for error in REFUSALS:
        if upload.refused_code == error.code:
            raise error(upload.refused_detail)


def taken_over() -> UploadLocked:
    return UploadLocked("A newer request has taken over this upload.")


async def replace_writer(
    rt: Runtime,
    upload: Upload,
    *,
    by: UUID | None,
    confirmed: int,
    rest_counts: bool = False,
    length: int | None = None,
    brings: int = 0,
) -> Upload | None:
    """Put a token in the place of the one in `upload`, with what is `confirmed`; None when that token no
    longer stands there. A `length` that is new is weighed like that of a new upload, and so is what a request
    `brings` to an upload without one: raises `TooMuchPromised`."""
    more = brings
    if upload.length is None and length is not None:
        more = length - upload.confirmed
    room = await room_for_promises(rt) if more else 0
    async with rt.begin() as connection:
        if more:
            found = await uploads.unfinished(connection, upload.key_name)
            admit_length(rt, found, more, room=room)
        return await uploads.replace_writer(
            connection,
            upload.id,
            held=upload,
            by=by,
            length=upload.length if length is None else length,
            confirmed=confirmed,
            rest_counts=rest_counts,
            expiry_seconds=rt.settings.upload_expiry_seconds,
        )


class Turn:
    """One request that wants to write to an upload."""

    def __init__(self, rt: Runtime, upload_id: UUID, request: tus.Append, hasher: _Hash | None) -> None:
        """`hasher` is fed what is written; with one the request counts as a whole or not at all."""
        self._rt = rt
        self._upload_id = upload_id
        self._request = request
        self._hasher = hasher
        self._limit = rt.settings.max_upload_bytes

    async def take(self, stack: AsyncExitStack) -> tuple[Upload, StagedWriter | None]:
        """Become the writer until the stack is closed.

        No writer is given when there is nothing to write: the upload has become a clip, or it has all its
        bytes and whoever was to make the clip is stuck. Raises `OffsetMismatch`, `UploadLocked` when a newer
        request was quicker, and what `read` raises.
        """
        rt, request, token = self._rt, self._request, uuid4()
        loop = asyncio.get_running_loop()
        started = loop.time()
        while True:
            upload, offset = await read(rt, self._upload_id)
            whole = offset == upload.length
            if request.offset != offset or (whole and request.body_size):
                raise OffsetMismatch(f"The upload is at offset {offset}.", extra={"offset": offset})
            if upload.clip_id is not None:
                return upload, None
            length = tus.settle_length(upload.length, request, max_size=rt.settings.max_upload_bytes)
            self._limit = rt.settings.max_upload_bytes if length is None else length
            if offset < upload.confirmed:
                # The file has lost bytes that were promised. What comes now need not be the same again, and
                # somebody may know a hash of what was: it goes on in a file of another name.
                taken = await self._swap(upload, token, length)
                if taken is not None:
                    return await self._move(stack, taken)
                continue
            async with AsyncExitStack() as attempt:
                try:
                    writer = await self._open(attempt, str(upload.file_id))
                except UploadLocked:
                    pass
                except OffsetMismatch as found:
                    if found.extra["offset"] < offset or upload.rest_counts:
                        raise
                    # Behind the offset is what does not count. It goes, once the token is this request's.
                    taken = await self._swap(upload, token, length)
                    if taken is not None:
                        return await self._displace(stack, taken)
                else:
                    taken = await self._swap(upload, token, length)
                    if taken is not None:
                        stack.push_async_exit(attempt.pop_all())
                        return taken, writer
            if loop.time() - started > self._patience(upload, whole=whole):
                taken = await self._swap(upload, token, length)
                if taken is not None:
                    return (taken, None) if whole else await self._displace(stack, taken)
            await asyncio.sleep(POLL_SECONDS)

    async def _swap(self, upload: Upload, token: UUID, length: int | None) -> Upload | None:
        """Until this request is acknowledged its bytes count once they are synced, should its process die;
        with a checksum they do not, for nobody has verified it."""
        # Of a body in chunks nobody knows: one more is begun only while there is something left.
        body_size = self._request.body_size
        return await replace_writer(
            self._rt,
            upload,
            by=token,
            confirmed=self._request.offset,
            rest_counts=self._hasher is None,
            length=length,
            brings=0 if length is not None else 1 if body_size is None else body_size,
        )

    def _patience(self, upload: Upload, *, whole: bool) -> float:
        if not whole:
            return PATIENCE_SECONDS
        # What this process does itself comes to an end.
        return math.inf if self._rt.staging.is_appending(str(upload.file_id)) else OUTCOME_SECONDS

    async def _displace(self, stack: AsyncExitStack, upload: Upload) -> tuple[Upload, StagedWriter]:
        """The token is this request's, the file still somebody else's."""
        rt, old = self._rt, str(upload.file_id)
        loop = asyncio.get_running_loop()
        until = loop.time() + LET_GO_SECONDS
        await rt.staging.interrupt(old, seconds=LET_GO_SECONDS)
        while loop.time() < until:
            try:
                # What the other brought to the disk in the end was never acknowledged.
                return upload, await self._open(stack, old, cut=True)
            except UploadLocked:
                await asyncio.sleep(POLL_SECONDS)
        return await self._move(stack, upload)

    async def _move(self, stack: AsyncExitStack, upload: Upload) -> tuple[Upload, StagedWriter]:
        """Go on in a file of one's own."""
        rt, old, file_id = self._rt, str(upload.file_id), uuid4()
        writer = await self._open(stack, str(file_id), copy_of=old)
        assert upload.writer is not None
        async with rt.begin() as connection:
            moved = await uploads.move(connection, upload.id, held=upload.writer, file_id=file_id)
        if moved is None:
            raise taken_over()
        await rt.staging.forget(old)
        return moved, writer

    async def _open(
        self, stack: AsyncExitStack, name: str, *, cut: bool = False, copy_of: str | None = None
    ) -> StagedWriter:
        return await stack.enter_async_context(
            self._rt.staging.append(
                name,
                self._request.offset,
                limit=self._limit,
                declared_size=self._request.body_size,
                also=self._hasher,
                atomic=self._hasher is not None,
                cut=cut,
                copy_of=copy_of,
            )
        )
