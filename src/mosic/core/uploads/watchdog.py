"""Keeps an eye on the uploads that this process writes to, for the sake of requests that it cannot see."""

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
from mosic.staging import StagedWriter, Staging

_log = structlog.get_logger("mosic.fence")

# What a writer takes is in its file, and a writer that was replaced knows it, after about so long.
TICK_SECONDS = 0.2


class Fence:
    """Guards writers. One per process, started and closed with the runtime.

    All of them together cost one look at the database per tick, and nothing while nobody writes.
    """

    def __init__(
        self,
        begin: Callable[[], AbstractAsyncContextManager[AsyncConnection]],
        staging: Staging,
        *,
        expiry_seconds: float,
        background: Background,
    ) -> None:
        self._background = background
        self._begin = begin
        self._staging = staging
        self._expiry_seconds = expiry_seconds
        self._expected = Counter[UUID]()
        self._guarded: dict[UUID, tuple[Upload, StagedWriter]] = {}
        self._any = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            self._background.start("fence-write", self._write_out),
            self._background.start("fence-watch", self._watch),
        ]

    async def close(self) -> None:
        await end(*self._tasks)

    @contextmanager
    def expect(self, upload_id: UUID) -> Iterator[None]:
        """While the block runs, bytes for the upload have come to this process or are about to."""
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
    def guard(self, upload: Upload, writer: StagedWriter) -> Iterator[None]:
        """While the block runs, what the writer takes comes to its file without waiting for more, the upload
        does not expire, and the writer is interrupted once another token stands in the row.
        """
        token = upload.writer
        assert token is not None
        self._guarded[token] = upload, writer
        self._any.set()
        try:
            yield
        finally:
            del self._guarded[token]
            if not self._guarded:
                self._any.clear()

    async def _write_out(self) -> None:
        while True:
            await self._any.wait()
            await asyncio.sleep(TICK_SECONDS)
            for _, writer in self._guarded.values():
                writer.hand_over()

    async def _watch(self) -> None:
        watched = True
        while True:
            await self._any.wait()
            await asyncio.sleep(TICK_SECONDS)
            try:
                await self._interrupt_replaced()
            except (Unavailable, DBAPIError) as error:
                # Without the database nobody can take over either.
                if watched:
                    _log.warning("writers go on unwatched", error=str(error))
                watched = False
            else:
                watched = True

    async def _interrupt_replaced(self) -> None:
        asked = {token: upload for token, (upload, _) in self._guarded.items()}
        if not asked:
            return
        ids = [upload.id for upload in asked.values()]
        async with self._begin() as connection:
            standing = await uploads.writers(connection, ids, expiry_seconds=self._expiry_seconds)
        # Those that ended meanwhile are no longer guarded, and may have changed the token themselves.
        replaced = {
            str(upload.file_id)
            for token, upload in asked.items()
            if token in self._guarded and standing.get(upload.id) != token
        }
        # One whose disk is stuck must not keep the others from being watched.
        await asyncio.gather(*(self._staging.interrupt(name, seconds=TICK_SECONDS) for name in replaced))
