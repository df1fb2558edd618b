"""Reading local files: at once what the page cache has, in threads what the disk has to bring."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Self

from mosic.blobs.base import Span
from mosic.blobs.descriptors import DescriptorCache, SharedFile
from mosic.disk import as_refusal
from mosic.errors import BlobMissing, Unavailable

_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
# Linux can say «not in the page cache» instead of waiting for the disk; elsewhere every read takes a thread.
_RWF_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)
# Of their own, so that uploads, which use the loop's, do not hold up listeners. They wait for the disk.
_THREADS = 16


class OpenFiles:
    """Files that are open or stay open for their next readers, and the threads that read them."""

    def __init__(self, path_of: Callable[[str], Path], most_kept_open: int | None = None) -> None:
        """`path_of` says where a file is by its name, `most_kept_open` is as for `DescriptorCache`."""
        self._path_of = path_of
        self._cache = DescriptorCache(most_kept_open)
        self.get_open = self._cache.get
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="mosic-blobs")

    def read_now(self, name: str, span: Span, file_size: int) -> bytearray | None:
        """All bytes of the span, if a file of that size is open and the page cache has them."""
        file = self._cache.find(name)
        if file is None or file.size != file_size:
            return None
        start, stop = span
        piece = _read_cached(file.descriptor, start, stop - start)
        return piece if piece is not None and len(piece) == stop - start else None

    async def open(self, name: str) -> SharedFile:
        """The file for one reader more. Raises `BlobMissing`, `Unavailable`."""
        return self._cache.add(name, await self._open(name))

    def discard(self, name: str) -> None:
        """The file was removed, or another has its name: only its readers still need it."""
        self._cache.discard(name)

    async def close(self) -> None:
        self._cache.clear()
        await asyncio.to_thread(self._threads.shutdown)

    async def _open(self, name: str) -> SharedFile:
        loop = asyncio.get_running_loop()
        path = str(self._path_of(name))
        opening = loop.run_in_executor(self._threads, SharedFile, path, self._close_soon)
        try:
            return await asyncio.shield(opening)
        except FileNotFoundError:
            raise BlobMissing from None
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS:
                self._cache.clear()
                raise Unavailable("Too many files are open.") from error
            raise as_refusal(error) from error
        except asyncio.CancelledError:
            # The thread cannot be stopped: whatever descriptor it still opens must be closed.
            opening.add_done_callback(_close_when_opened)
            raise

    def _close_soon(self, descriptor: int) -> None:
        # In a thread: whoever closes a removed file as the last waits until the file system has freed it.
        try:
            self._threads.submit(os.close, descriptor)
        except RuntimeError:  # closed before the last reader let go
            os.close(descriptor)

    async def read(self, file: SharedFile, start: int, size: int) -> bytes:
        """Up to `size` bytes from `start`; empty at the end of the file. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        # The thread reads on when the task that waits for it is cancelled: it counts as a reader of its own.
        file.add_reader()
        reading = loop.run_in_executor(self._threads, os.pread, file.descriptor, size, start)
        reading.add_done_callback(partial(_end_reading, file))
        return await asyncio.shield(reading)


class FileSpan:
    """A span of a file, as `BlobStore.open` gives it. Reads go by position, so that readers of one file do
    not disturb each other."""

    __slots__ = ("_at", "_file", "_files", "_name", "_span", "_stop", "size")

    def __init__(self, files: OpenFiles, name: str, span: Span | None) -> None:
        self._files = files
        self._name = name
        self._span = span
        self._file: SharedFile | None = None

    async def __aenter__(self) -> Self:
        # Coroutines are spared where they would not wait: many listen to a clip that is in memory.
        file = self._files.get_open(self._name) or await self._files.open(self._name)
        self._file = file
        self.size = file.size
        self._at, self._stop = self._span or (0, file.size)
        return self

    async def __aexit__(self, *_: object) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.remove_reader()

    async def read(self, size: int) -> bytes | bytearray:
        file, at = self._file, self._at
        assert file is not None
        size = min(size, self._stop - at)
        if size <= 0:
            return b""
        piece = _read_cached(file.descriptor, at, size) or await self._files.read(file, at, size)
        if not piece:
            raise OSError("the blob is shorter than what was to be read of it")
        self._at = at + len(piece)
        return piece


def _read_cached(descriptor: int, start: int, size: int) -> bytearray | None:
    """Up to `size` bytes that the page cache has; None when it has none."""
    if _RWF_NOWAIT is None:
        return None
    buffer = bytearray(size)
    try:
        read = os.preadv(descriptor, (buffer,), start, _RWF_NOWAIT)
    except OSError:
        # EAGAIN: not in the cache. EOPNOTSUPP: a file system that cannot tell. A true I/O error will come up
        # again in the thread's read, which reports it.
        return None
    if read < size:
        del buffer[read:]
    return buffer or None


def _end_reading(file: SharedFile, reading: asyncio.Future[bytes]) -> None:
    file.remove_reader()
    if not reading.cancelled():
        reading.exception()  # whoever still waits raises it; if nobody does, it is not news


def _close_when_opened(opening: asyncio.Future[SharedFile]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().remove_reader()
