"""The writer claim: which request may write to a resumable upload.

docs/decisions/0008-tus-writers.md has the rules and their reasons. A claim is a token in the row of the
upload. A request that replaces it has taken over. The writer before learns of that here or from the
watchdog.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

from mosic.core.runtime import Runtime
from mosic.core.uploads.quotas import admit_length
from mosic.core.uploads.state import read
from mosic.db import uploads
from mosic.db.uploads import Upload
from mosic.errors import OffsetMismatch, UploadLocked
from mosic.staging import Incoming, Position, UploadWriter
from mosic.wire import tus


@dataclass(slots=True)
class Claim:
    """The claim of one request. `upload` is the row with its token.

    There is no `writer` when there is nothing to write: the upload has become a clip, or it has all its bytes
    and the request that was to make the clip is stuck.
    """

    upload: Upload
    writer: UploadWriter | None

    async def acknowledge(self, rt: Runtime, offset: int) -> None:
        """Promise the sender the bytes up to the offset, which `sync` or `salvage` has returned. The claim
        ends with it, unless the upload is whole: then it lasts while the clip is made.

        Raises `UploadLocked` when a newer request has taken over; then nothing is promised.
        """
        token = uuid4() if offset == self.upload.length else None
        replaced = await _replace_token(rt, self.upload, token, confirmed=offset, length=self.upload.length)
        if replaced is None:
            raise _taken_over()
        self.upload = replaced
        if self.writer is not None:
            self.writer.acknowledge()


@asynccontextmanager
async def claim(rt: Runtime, upload_id: UUID, request: tus.Append) -> AsyncIterator[Claim]:
    """Become the writer of the upload until the block is left.

    Raises `OffsetMismatch`, `UploadLocked` when a newer request was quicker, `TooMuchPromised`, and what
    `read`, `tus.settle_length` and the area raise.
    """
    with rt.watchdog.expecting(upload_id):
        async with AsyncExitStack() as stack:
            yield await _Claimant(rt, upload_id, request, stack).claim()


class _Claimant:
    """A request that wants to write. What it opens is closed by the stack."""

    def __init__(self, rt: Runtime, upload_id: UUID, request: tus.Append, stack: AsyncExitStack) -> None:
        self._rt = rt
        self._upload_id = upload_id
        self._request = request
        self._stack = stack
        self._token = uuid4()

    async def claim(self) -> Claim:
        rt, request = self._rt, self._request
        loop = asyncio.get_running_loop()
        started = loop.time()
        while True:
            upload, offset = await read(rt, self._upload_id)
            whole = offset == upload.length
            if request.offset != offset or (whole and request.body_size):
                raise OffsetMismatch(f"The upload is at offset {offset}.", extra={"offset": offset})
            if upload.clip_id is not None:
                return Claim(upload, None)
            length = tus.settle_length(upload.length, request, max_size=rt.settings.max_upload_bytes)
            if offset < upload.confirmed:
                # The area has lost bytes that were promised. What comes now need not be the same again, and a
                # process may remember a hash of what was: the upload goes on under another name.
                taken = await self._take(upload, length)
                if taken is not None:
                    return await self._go_on_elsewhere(taken)
                continue
            claimed = await self._take_if_free(upload, offset, length)
            if claimed is not None:
                return claimed
            if loop.time() - started > self._patience(upload, whole=whole):
                taken = await self._take(upload, length)
                if taken is not None:
                    return Claim(taken, None) if whole else await self._displace(taken)
            await asyncio.sleep(rt.settings.timings.upload_poll)

    async def _take_if_free(self, upload: Upload, offset: int, length: int | None) -> Claim | None:
        """None when another writer has the upload, or somebody else has replaced the token meanwhile."""
        async with AsyncExitStack() as attempt:
            try:
                writer = await self._open(attempt, upload.file_id, length)
            except UploadLocked:
                return None
            except OffsetMismatch as found:
                if found.extra["offset"] < offset or upload.rest_counts:
                    raise
                # The bytes behind the offset do not count. They are cut once the token is this request's.
                taken = await self._take(upload, length)
                return None if taken is None else await self._displace(taken)
            taken = await self._take(upload, length)
            if taken is None:
                return None
            self._stack.push_async_exit(attempt.pop_all())
            return Claim(taken, writer)

    async def _take(self, upload: Upload, length: int | None) -> Upload | None:
        """Put this request's token into the row; None when the row has another one than `upload`.

        Until the request is acknowledged its bytes count once they are synced, should its process die; with a
        checksum they do not, for they are not verified.
        """
        # Of a body in chunks nobody knows the size: it may begin only while there is something left.
        body_size = self._request.body_size
        return await _replace_token(
            self._rt,
            upload,
            self._token,
            confirmed=self._request.offset,
            rest_counts=self._request.checksum is None,
            length=length,
            brings=0 if length is not None else 1 if body_size is None else body_size,
        )

    def _patience(self, upload: Upload, *, whole: bool) -> float:
        timings = self._rt.settings.timings
        if not whole:
            return timings.writer_silence
        # What this process does itself comes to an end.
        return math.inf if self._rt.staging.is_held_here(str(upload.file_id)) else timings.clip_wait

    async def _displace(self, upload: Upload) -> Claim:
        """The token is this request's, but another writer may still have the upload."""
        rt, timings = self._rt, self._rt.settings.timings
        loop = asyncio.get_running_loop()
        until = loop.time() + timings.writer_stop
        await rt.staging.interrupt(str(upload.file_id), seconds=timings.writer_stop)
        while loop.time() < until:
            try:
                # What the other has written in the end was never acknowledged.
                writer = await self._open(self._stack, upload.file_id, upload.length, cut=True)
            except UploadLocked:
                await asyncio.sleep(timings.upload_poll)
            else:
                return Claim(upload, writer)
        return await self._go_on_elsewhere(upload)

    async def _go_on_elsewhere(self, upload: Upload) -> Claim:
        """Under another name, with a copy of what counts: nobody else writes there."""
        rt, old, file_id = self._rt, str(upload.file_id), uuid4()
        await rt.staging.copy(old, self._request.offset, str(file_id))
        writer = await self._open(self._stack, file_id, upload.length)
        assert upload.writer is not None
        async with rt.begin() as connection:
            moved = await uploads.move(connection, upload.id, held=upload.writer, file_id=file_id)
        if moved is None:
            raise _taken_over()
        await rt.staging.discard(old)
        return Claim(moved, writer)

    async def _open(
        self, stack: AsyncExitStack, file_id: UUID, length: int | None, *, cut: bool = False
    ) -> UploadWriter:
        position = Position(str(file_id), self._request.offset, cut)
        incoming = Incoming(
            limit=self._rt.settings.max_upload_bytes if length is None else length,
            declared_size=self._request.body_size,
            checksum=self._request.checksum,
        )
        return await stack.enter_async_context(self._rt.staging.append(position, incoming))


async def _replace_token(
    rt: Runtime,
    upload: Upload,
    token: UUID | None,
    *,
    confirmed: int,
    length: int | None,
    rest_counts: bool = False,
    brings: int = 0,
) -> Upload | None:
    """Replace the token that `upload` has, and note what is `confirmed`; None when the row has another token
    by now.

    A `length` that is new is checked against the quotas, and so is what a request `brings` to an upload
    without one: raises `TooMuchPromised`.
    """
    more = brings
    if upload.length is None and length is not None:
        more = length - upload.confirmed
    free = await rt.staging.free_bytes() if more else 0
    async with rt.begin() as connection:
        if more:
            found = await uploads.unfinished(connection, upload.key_name)
            admit_length(rt, found, more, free=free)
        return await uploads.replace_writer(
            connection,
            upload.id,
            held=upload,
            by=token,
            length=length,
            confirmed=confirmed,
            rest_counts=rest_counts,
            expiry_seconds=rt.settings.upload_expiry_seconds,
        )


def _taken_over() -> UploadLocked:
    return UploadLocked("A newer request has taken over this upload.")
