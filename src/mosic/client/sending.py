"""Sends files to the service, through lost connections and restarts of either side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from mosic.client.failures import BodyTooLarge, Failed, NotFound, Refused, ServiceFailed, TryAgain
from mosic.client.gather import Found
from mosic.client.localfile import FileFailed, LocalFile, open_file
from mosic.client.remembered import Remembered
from mosic.client.retrying import Retries, Wait
from mosic.client.uploads import Uploads

MEBIBYTE = 1024 * 1024
# After each chunk progress is reported and the timeout restarted: a slow connection must manage one in time.
_CHUNK_BYTES = 64 * 1024
_LEAST_PIECE = 64 * 1024


class Result(Enum):
    ADDED = "added"
    SAVED = "saved"
    PRESENT = "present"
    FAILED = "failed"
    UNSENT = "unsent"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`reason` is for failures. A file is unsent when the service failed before it."""

    result: Result
    reason: str = ""


class Watcher(Protocol):
    """Receives the progress of one file, from any thread."""

    def hashing(self, offset: int) -> None: ...

    def sending(self, offset: int) -> None: ...

    def resumed(self, offset: int) -> None:
        """The service has so many bytes, perhaps fewer than were sent; sending continues from there."""

    def finishing(self) -> None: ...

    def waiting(self, wait: Wait | None) -> None:
        """Without a `wait`: for another upload of the same bytes."""


@dataclass(slots=True)
class _Job:
    """`offset` is confirmed by the service; `unconfirmed` bytes beyond it went into the last request."""

    found: Found
    file: LocalFile
    sha256: str
    watcher: Watcher
    offset: int = 0
    unconfirmed: int = 0
    has_sent: bool = False
    failure: FileFailed | None = None

    async def chunks(self, start: int, stop: int) -> AsyncIterator[bytes]:
        while start < stop:
            try:
                block = await asyncio.to_thread(self.file.read, start, stop - start)
            except FileFailed as error:
                # aiohttp reports only that the request failed.
                self.failure = error
                raise
            for at in range(0, len(block), _CHUNK_BYTES):
                chunk = block[at : at + _CHUNK_BYTES]
                yield chunk
                self.has_sent = True
                self.unconfirmed += len(chunk)
                self.watcher.sending(start + at + len(chunk))
            start += len(block)


class Sender:
    """Sends files, perhaps several at once. `piece` is the most bytes for one request; None: no limit.

    Where a proxy refuses bodies of that size, smaller pieces are sent.
    """

    def __init__(
        self, server: Uploads, remembered: Remembered, *, retries: int, piece: int | None = None
    ) -> None:
        self._server = server
        self._remembered = remembered
        self._retries = retries
        self._piece = piece
        self.failure: ServiceFailed | None = None
        """Why no further file can be sent."""

    async def send(self, found: Found, watcher: Watcher) -> Outcome:
        """Make sure that the service has the bytes of this file. Failures are outcomes, not exceptions."""
        try:
            if self.failure is not None:
                raise self.failure
            with open_file(found.path) as file:
                sha256 = await asyncio.to_thread(file.sha256, watcher.hashing)
                job = _Job(found, file, sha256, watcher)
                async with self._remembered.exclusively(
                    self._server.shown, sha256, lambda: watcher.waiting(None)
                ):
                    return Outcome(await self._persist(job))
        except ServiceFailed as error:
            self.failure = error
            return Outcome(Result.UNSENT)
        except (Failed, FileFailed) as error:
            return Outcome(Result.FAILED, str(error))

    async def _persist(self, job: _Job) -> Result:
        retries = Retries(self._server, self._retries)
        while True:
            confirmed = job.offset
            retries.begin()
            try:
                return await self._attempt(job)
            except TryAgain as failure:
                if job.failure is not None:
                    await self._give_up(job)
                    raise job.failure from None
                wait = retries.after(failure, progressed=job.offset > confirmed)
                job.watcher.waiting(wait)
                await asyncio.sleep(wait.seconds)
                if self.failure is not None:
                    raise self.failure from None
            except (Refused, FileFailed):
                await self._give_up(job)
                raise

    async def _attempt(self, job: _Job) -> Result:
        """From the present state to the end. Can be repeated."""
        server, size = self._server, job.file.size
        if await server.has(job.sha256):
            # Sent by this call if only the last response was lost.
            return await self._done(job, Result.ADDED if job.has_sent else Result.PRESENT)
        upload_id = await self._resume(job)
        if upload_id is None:
            upload_id = await server.create(size, job.found.name, job.sha256)
            await self._remembered.put(server.shown, job.sha256, upload_id)
            job.offset = 0
        job.watcher.resumed(job.offset)
        while job.offset < size:
            stop = min(size, job.offset + (self._piece or size))
            job.unconfirmed = 0
            try:
                job.offset = await server.append(
                    upload_id, job.offset, stop - job.offset, job.chunks(job.offset, stop)
                )
            except BodyTooLarge:
                self._send_less(stop - job.offset)
                job.watcher.resumed(job.offset)
            except NotFound:
                await self._remembered.forget(server.shown, job.sha256)
                raise TryAgain("the upload is no longer there") from None
        job.watcher.finishing()
        await asyncio.to_thread(job.file.check)
        if not await server.has(job.sha256):
            raise Refused("the service has stored other bytes than those of this file")
        return await self._done(job, Result.ADDED)

    async def _resume(self, job: _Job) -> str | None:
        """The id of an unfinished upload of these bytes, its offset in `job.offset`; None: there is none."""
        upload_id = await self._remembered.get(self._server.shown, job.sha256)
        if upload_id is None:
            return None
        before = job.offset
        try:
            job.offset = await self._server.offset(upload_id, job.file.size)
        except NotFound:
            await self._remembered.forget(self._server.shown, job.sha256)
            return None
        if job.unconfirmed >= 2 * MEBIBYTE and job.offset <= before:
            # A proxy that buffers whole bodies loses everything with the connection.
            self._send_at_most(job.unconfirmed // 2)
        job.unconfirmed = 0
        return upload_id

    def _send_less(self, refused: int) -> None:
        """Raises `Refused` when the size cannot be the reason."""
        if refused <= _LEAST_PIECE:
            raise Refused("HTTP 413: even small pieces are refused")
        # Limits are often powers of two: so the whole of such a limit is used.
        self._send_at_most(max(_LEAST_PIECE, 1 << ((refused - 1).bit_length() - 1)))

    def _send_at_most(self, size: int) -> None:
        self._piece = size if self._piece is None else min(self._piece, size)

    async def _done(self, job: _Job, result: Result) -> Result:
        await self._remembered.forget(self._server.shown, job.sha256)
        return result

    async def _give_up(self, job: _Job) -> None:
        """Forget the upload, so that no later call continues it, and try to delete it on the service."""
        upload_id = await self._remembered.get(self._server.shown, job.sha256)
        await self._remembered.forget(self._server.shown, job.sha256)
        if upload_id is not None:
            with suppress(Failed, TryAgain, NotFound):
                await self._server.remove(upload_id)
