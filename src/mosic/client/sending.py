"""One file on its way to the service, through breaks of the connection and restarts of either side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from mosic.client.gather import Found
from mosic.client.localfile import FileFailed, LocalFile, open_file
from mosic.client.patience import Patience, Wait
from mosic.client.remembered import Remembered
from mosic.client.transfer import Server
from mosic.client.verdict import BodyTooLarge, Failed, Hopeless, Missing, Refused, Trouble

MEBIBYTE = 1024 * 1024
# What is shown and timed as sent; a slow line must get one out long before patience ends.
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
    """`reason` is for failures. Nobody is to blame for a file that is unsent: none can be sent any more."""

    result: Result
    reason: str = ""


class Watcher(Protocol):
    """Is told how one file gets on; from any thread."""

    def hashing(self, offset: int) -> None: ...

    def sending(self, offset: int) -> None: ...

    def resumed(self, offset: int) -> None:
        """The service has so many bytes of it; sending goes on from there, be it forward or back."""

    def finishing(self) -> None: ...

    def waiting(self, wait: Wait | None) -> None:
        """For another upload of the same bytes, when there is no `wait`."""


@dataclass(slots=True)
class _Job:
    """`offset` is what the service has confirmed, `handed_over` what the last request took beyond that."""

    found: Found
    file: LocalFile
    sha256: str
    watcher: Watcher
    offset: int = 0
    handed_over: int = 0
    has_sent: bool = False
    failure: FileFailed | None = None

    async def chunks(self, start: int, stop: int) -> AsyncIterator[bytes]:
        while start < stop:
            try:
                block = await asyncio.to_thread(self.file.read, start, stop - start)
            except FileFailed as error:
                # The request only breaks; this is why.
                self.failure = error
                raise
            for at in range(0, len(block), _CHUNK_BYTES):
                chunk = block[at : at + _CHUNK_BYTES]
                yield chunk
                self.has_sent = True
                self.handed_over += len(chunk)
                self.watcher.sending(start + at + len(chunk))
            start += len(block)


class Sender:
    """Sends files, several at once if asked to. `piece` is the most bytes for one request; None: all.

    Where something between here and the service turns out not to let that much through, it sends less.
    """

    def __init__(
        self, server: Server, remembered: Remembered, *, retries: int, piece: int | None = None
    ) -> None:
        self._server = server
        self._remembered = remembered
        self._retries = retries
        self._piece = piece
        self.hopeless: Hopeless | None = None
        """Why no file can be sent any more."""

    async def send(self, found: Found, watcher: Watcher) -> Outcome:
        """See that the service has the bytes of this file. Does not raise: a failure is an outcome."""
        try:
            if self.hopeless is not None:
                raise self.hopeless
            with open_file(found.path) as file:
                sha256 = await asyncio.to_thread(file.sha256, watcher.hashing)
                job = _Job(found, file, sha256, watcher)
                async with self._remembered.alone(self._server.shown, sha256, lambda: watcher.waiting(None)):
                    return Outcome(await self._persist(job))
        except Hopeless as error:
            self.hopeless = error
            return Outcome(Result.UNSENT)
        except (Failed, FileFailed) as error:
            return Outcome(Result.FAILED, str(error))

    async def _persist(self, job: _Job) -> Result:
        patience = Patience(self._server, self._retries)
        while True:
            confirmed = job.offset
            patience.begin()
            try:
                return await self._attempt(job)
            except Trouble as trouble:
                if job.failure is not None:
                    await self._give_up(job)
                    raise job.failure from None
                wait = patience.after(trouble, got_on=job.offset > confirmed)
                job.watcher.waiting(wait)
                await asyncio.sleep(wait.seconds)
                if self.hopeless is not None:
                    raise self.hopeless from None
            except (Refused, FileFailed):
                await self._give_up(job)
                raise

    async def _attempt(self, job: _Job) -> Result:
        """From wherever things stand to the end; may be repeated."""
        server, size = self._server, job.file.size
        if await server.has(job.sha256):
            # Sent by this very call, if only the answer to the last byte was lost.
            return await self._done(job, Result.ADDED if job.has_sent else Result.PRESENT)
        upload_id = await self._resume(job)
        if upload_id is None:
            upload_id = await server.create(size, job.found.name, job.sha256)
            await self._remembered.put(server.shown, job.sha256, upload_id)
            job.offset = 0
        job.watcher.resumed(job.offset)
        while job.offset < size:
            stop = min(size, job.offset + (self._piece or size))
            job.handed_over = 0
            try:
                job.offset = await server.append(
                    upload_id, job.offset, stop - job.offset, job.chunks(job.offset, stop)
                )
            except BodyTooLarge:
                self._send_less(stop - job.offset)
                job.watcher.resumed(job.offset)
            except Missing:
                await self._remembered.forget(server.shown, job.sha256)
                raise Trouble("the upload is no longer there") from None
        job.watcher.finishing()
        await asyncio.to_thread(job.file.check)
        if not await server.has(job.sha256):
            raise Refused("the service has stored other bytes than those of this file")
        return await self._done(job, Result.ADDED)

    async def _resume(self, job: _Job) -> str | None:
        """The upload that has some of these bytes, `job.offset` telling how many; None: there is none."""
        upload_id = await self._remembered.get(self._server.shown, job.sha256)
        if upload_id is None:
            return None
        before = job.offset
        try:
            job.offset = await self._server.offset(upload_id, job.file.size)
        except Missing:
            await self._remembered.forget(self._server.shown, job.sha256)
            return None
        if job.handed_over >= 2 * MEBIBYTE and job.offset <= before:
            # A proxy that passes on only what it has whole loses all when the connection breaks.
            self._send_at_most(job.handed_over // 2)
        job.handed_over = 0
        return upload_id

    def _send_less(self, refused: int) -> None:
        """Raises `Refused` when it is not the size that is the trouble."""
        if refused <= _LEAST_PIECE:
            raise Refused("HTTP 413: even small pieces are refused")
        # Limits are often powers of two, and are then used to the full.
        self._send_at_most(max(_LEAST_PIECE, 1 << ((refused - 1).bit_length() - 1)))

    def _send_at_most(self, size: int) -> None:
        self._piece = size if self._piece is None else min(self._piece, size)

    async def _done(self, job: _Job, result: Result) -> Result:
        await self._remembered.forget(self._server.shown, job.sha256)
        return result

    async def _give_up(self, job: _Job) -> None:
        """Leave nothing that a later call would go on with; the service is told, if it listens."""
        upload_id = await self._remembered.get(self._server.shown, job.sha256)
        await self._remembered.forget(self._server.shown, job.sha256)
        if upload_id is not None:
            with suppress(Failed, Trouble, Missing):
                await self._server.remove(upload_id)
