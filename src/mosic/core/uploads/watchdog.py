"""The watchdog over the uploads that this process writes to, for requests to them in other processes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.background import Background, end
from mosic.db import uploads
from mosic.db.uploads import Upload
from mosic.errors import Unavailable
from mosic.settings.timings import Timings
from mosic.staging import UploadArea, UploadWriter

_log = structlog.get_logger("mosic.uploads")


class WriterWatchdog:
    """One per process, started and closed with the runtime.

    Every `writer_check` seconds it writes out what the writers have gathered, so that others see how far they
    are, and stops those that were replaced. All of them together cost one statement each time, and nothing
    while nobody writes.
    """

    def __init__(
        self,
        begin: Callable[[], AbstractAsyncContextManager[AsyncConnection]],
        area: UploadArea,
        *,
        expiry_seconds: float,
        timings: Timings,
        background: Background,
    ) -> None:
        self._begin = begin
        self._area = area
        self._expiry_seconds = expiry_seconds
        self._interval = timings.writer_check
        self._background = background
        self._expected = Counter[UUID]()
        self._watched: dict[UUID, tuple[Upload, UploadWriter]] = {}
        self._any = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            self._background.start("writers-flush", self._flush),
            self._background.start("writers-watch", self._watch),
        ]

    async def close(self) -> None:
        await end(*self._tasks)

    @contextmanager
    def expecting(self, upload_id: UUID) -> Iterator[None]:
        """While the block runs, bytes for the upload have come to this process or will soon."""
        self._expected[upload_id] += 1
        try:
            yield
        finally:
            self._expected[upload_id] -= 1
            if not self._expected[upload_id]:
                del self._expected[upload_id]

    def expects(self, upload_id: UUID) -> bool:
        return upload_id in self._expected

    @contextmanager
    def watching(self, upload: Upload, writer: UploadWriter) -> Iterator[None]:
        """While the block runs, what the writer takes is written out without waiting for more, the upload
        does not expire, and the writer is stopped once the row has another token.
        """
        token = upload.writer
        assert token is not None
        self._watched[token] = upload, writer
        self._any.set()
        try:
            yield
        finally:
            del self._watched[token]
            if not self._watched:
                self._any.clear()

    async def _flush(self) -> None:
        while True:
            await self._any.wait()
            await asyncio.sleep(self._interval)
            for _, writer in self._watched.values():
                writer.flush()

    async def _watch(self) -> None:
        reachable = True
        while True:
            await self._any.wait()
            await asyncio.sleep(self._interval)
            try:
                await self._stop_replaced()
            except (Unavailable, DBAPIError) as error:
                # Without the database nobody can take over either.
                if reachable:
                    _log.warning("writers are not being watched", error=str(error))
                reachable = False
            else:
                reachable = True

    async def _stop_replaced(self) -> None:
        watched = {token: upload for token, (upload, _) in self._watched.items()}
        if not watched:
            return
        ids = [upload.id for upload in watched.values()]
        async with self._begin() as connection:
            standing = await uploads.writers(connection, ids, expiry_seconds=self._expiry_seconds)
        # Those that ended meanwhile are no longer watched, and may have changed the token themselves.
        replaced = {
            str(upload.file_id)
            for token, upload in watched.items()
            if token in self._watched and standing.get(upload.id) != token
        }
        # One whose disk is stuck must not keep the others from being watched.
        await asyncio.gather(*(self._area.interrupt(name, seconds=self._interval) for name in replaced))
