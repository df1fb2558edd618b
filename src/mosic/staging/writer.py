"""The writer of one file in the local upload area, which a request feeds.

While the event loop receives, the thread writes and hashes what came before: one pass over the bytes. Chunks
are gathered in buffers, of which a writer has few: a sender that is faster than the disk has to wait, and
what a slow one sends does not stay in memory for long. The thread does the jobs of a file in the order given,
so none is closed or removed while still written to, however its request ends.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from mosic.disk import as_refusal
from mosic.errors import TooLarge
from mosic.staging.base import Chunk, StagedFile
from mosic.staging.diskfile import DiskFile

T = TypeVar("T")

BUFFER_BYTES = 1024 * 1024
BUFFERS_AHEAD = 2  # with the thread or waiting for it; one more is being filled
# Else each of many slow senders would keep up to a whole buffer in memory.
_BUFFER_SECONDS = 1.0
# Chunks smaller than this are copied together: one by one they would cost more than a copy.
_COPIED_BYTES = 16 * 1024


class FileWriter:
    """An `UploadWriter`. `LocalUploadArea` makes it and closes its file."""

    def __init__(self, file: DiskFile, thread: ThreadPoolExecutor, *, limit: int, declared_size: int) -> None:
        self._file, self._thread = file, thread
        self._limit, self._declared_size = limit, declared_size
        self._filling: list[bytearray | memoryview] = []
        self._filled = 0
        self._begun = 0.0
        # The thread is done with those before the ones in here once it is done with the first of them.
        self._ahead: deque[Future[None]] = deque(maxlen=BUFFERS_AHEAD + 1)
        self._taken = 0

    @property
    def size(self) -> int:
        """Bytes of the file with all that was taken so far."""
        return self._file.start + self._taken

    @property
    def unwritten(self) -> int:
        """Of what the request declared, the bytes that the disk has yet to take."""
        return max(0, self._declared_size - (self._file.size - self._file.start))

    async def write(self, chunk: Chunk | memoryview) -> None:
        if self.size + len(chunk) > self._limit:
            raise TooLarge(f"An upload may have at most {self._limit} bytes.")
        self._taken += len(chunk)
        if len(chunk) > BUFFER_BYTES:
            view = memoryview(chunk)
            for start in range(0, len(view), BUFFER_BYTES):
                await self._gather(view[start : start + BUFFER_BYTES])
        else:
            await self._gather(chunk)

    async def _gather(self, chunk: Chunk | memoryview) -> None:
        now = time.monotonic()
        if not self._filling:
            self._begun = now
        if len(chunk) >= _COPIED_BYTES:
            self._filling.append(memoryview(chunk))
        elif self._filling and isinstance(self._filling[-1], bytearray):
            self._filling[-1] += chunk
        else:
            self._filling.append(bytearray(chunk))
        self._filled += len(chunk)
        if self._filled >= BUFFER_BYTES or now - self._begun >= _BUFFER_SECONDS:
            self.flush()
            if len(self._ahead) > BUFFERS_AHEAD:
                await _done(self._ahead.popleft())

    def flush(self) -> None:
        if self._filling:
            chunks, self._filling, self._filled = self._filling, [], 0
            self._ahead.append(self._thread.submit(self._file.store, chunks))

    async def sync(self) -> int:
        self.flush()
        await self.run(self._file.sync)
        self._ahead.clear()
        return self.size

    async def salvage(self) -> int:
        return await self.run(self._file.salvage)

    def acknowledge(self) -> None:
        self._file.acknowledged = True

    async def finish(self) -> StagedFile:
        self.flush()
        return await self.run(self._file.finish)

    async def run(self, job: Callable[[], T]) -> T:
        """Has the thread do `job` after all that was given to it; it will even if the caller is cancelled."""
        return await _done(self._thread.submit(job))


async def _done(future: Future[T]) -> T:
    try:
        # Cancelling the wait must not cancel a job that has not begun.
        return await asyncio.shield(asyncio.wrap_future(future))
    except OSError as error:
        raise as_refusal(error) from error
