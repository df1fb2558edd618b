"""One staged file: the writer that a request feeds, and the file under it, which only one thread touches.

While the event loop receives, the thread writes and hashes what came before: one pass over the bytes.
Chunks are gathered into buffers, of which a writer has few, so a sender that is faster than the disk is made
to wait. The thread does the jobs of a file in the order given, so none is closed or removed while still
written to, however its request ends.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mosic.errors import InsufficientStorage, OffsetMismatch, TooLarge, UploadLocked

if TYPE_CHECKING:
    from hashlib import _Hash

T = TypeVar("T")

BUFFER_BYTES = 1024 * 1024
BUFFERS_AHEAD = 2  # with the thread or waiting for it; one more is being filled

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A whole file, fsynced, not yet published. `sha256` is in hex."""

    path: Path
    size: int
    sha256: str


class StagedWriter:
    """Takes the bytes of one request. `mosic.staging.Staging` gives it out and ends it."""

    def __init__(
        self, file: DiskFile, thread: ThreadPoolExecutor, *, limit: int, declared_size: int = 0
    ) -> None:
        self._file, self._thread = file, thread
        self._limit, self._declared_size = limit, declared_size
        self._filling = bytearray()
        # The thread is done with those before the ones in here once it is done with the first of them.
        self._ahead: deque[Future[None]] = deque(maxlen=BUFFERS_AHEAD + 1)
        self._taken = 0

    @property
    def size(self) -> int:
        """Bytes of the file with all that was taken so far."""
        return self._file.start + self._taken

    @property
    def outstanding(self) -> int:
        """Of what the request declared, the bytes that the disk has yet to take."""
        return max(0, self._declared_size - (self._file.size - self._file.start))

    async def write(self, chunk: bytes | memoryview) -> None:
        """Takes all of `chunk`, or raises `TooLarge` and takes nothing of it. Waits only while the disk is
        behind. Raises `InsufficientStorage`, perhaps for bytes of an earlier call.
        """
        if self.size + len(chunk) > self._limit:
            raise TooLarge(f"An upload may have {self._limit} bytes.")
        self._taken += len(chunk)
        view = memoryview(chunk)
        while view:
            room = BUFFER_BYTES - len(self._filling)
            self._filling += view[:room]
            view = view[room:]
            if len(self._filling) == BUFFER_BYTES:
                self.hand_over()
                if len(self._ahead) > BUFFERS_AHEAD:
                    await _done(self._ahead.popleft())

    async def sync(self) -> int:
        """The size of the file, once all of it is on disk for good. Raises `InsufficientStorage`."""
        self.hand_over()
        await self.run(self._file.sync)
        self._ahead.clear()
        return self.size

    async def finish(self) -> StagedFile:
        """The end: `sync`, and what the file is. Reads again only bytes that came to other processes."""
        self.hand_over()
        return await self.run(self._file.finish)

    def hand_over(self) -> None:
        """Gives the thread what was gathered. An error shows in the next job that is waited for."""
        if self._filling:
            buffer, self._filling = self._filling, bytearray()
            self._ahead.append(self._thread.submit(self._file.store, buffer))

    async def run(self, job: Callable[[], T]) -> T:
        """Has the thread do `job` after all that was given to it; it will even if the caller is cancelled."""
        return await _done(self._thread.submit(job))


async def _done(future: Future[T]) -> T:
    try:
        # Cancelling the wait must not cancel a job that has not begun.
        return await asyncio.shield(asyncio.wrap_future(future))
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise InsufficientStorage from error
        raise


class DiskFile:
    """The file. Everything here blocks and belongs to the thread, but for reading the counts.

    It is locked (flock) while open, so that other processes see that its writer lives. `start` is its size
    when it was opened, `size` what is in it now, `sha256` that of its first `hashed` bytes.
    """

    def __init__(self, path: Path, *, also: _Hash | None = None) -> None:
        self.path = path
        self.start = self.size = self.hashed = 0
        self.sha256 = hashlib.sha256()
        self._also = also
        self._descriptor = -1
        self._failure: OSError | None = None
        self._mark: Path | None = None
        self._finished = False

    def create(self) -> None:
        while self._descriptor < 0:
            # In the instant before it is locked, a sweep may take it for a leftover: then it is made again.
            with suppress(UploadLocked):
                self._descriptor = _open_locked(self.path, create=True)

    def resume(self, offset: int, known: tuple[int, _Hash] | None, *, atomic: bool) -> None:
        """Opens the file of an upload that stands at `offset`, a new one at 0. `known`: a size and the hash
        that the file had then. With `atomic` a crash before `release` takes the file back to `offset`.
        """
        descriptor = _open_locked(self.path, create=offset == 0)
        try:
            size = standing(self.path)
            if size != offset:
                raise _mismatch(size)
            os.ftruncate(descriptor, offset)
            mark = mark_of(self.path)
            mark.unlink(missing_ok=True)
            if atomic:
                # A symbolic link appears together with its content, unlike a file.
                mark.symlink_to(str(offset))
                self._mark = mark
            if offset == 0:
                _sync_folder(self.path.parent)
            if known is not None and known[0] <= offset:
                self.hashed, self.sha256 = known[0], known[1].copy()
        except BaseException:
            _close(descriptor)
            raise
        self._descriptor = descriptor
        self.start = self.size = offset

    def store(self, buffer: bytearray) -> None:
        if self._failure is not None:
            raise self._failure  # what would follow a hole is of no use
        view, start = memoryview(buffer), self.size
        try:
            while view:
                written = os.pwrite(self._descriptor, view, self.size)
                if self.hashed == self.size:
                    self.sha256.update(view[:written])
                    self.hashed += written
                if self._also is not None:
                    self._also.update(view[:written])
                self.size += written
                view = view[written:]
        except OSError as error:
            self._failure = error
            raise
        if hasattr(os, "posix_fadvise"):
            # For pages just written this means on Linux: start writing them out, wait for nothing. So fsync
            # finds little left to do. Being dirty they stay cached, for the probe and the first listener.
            os.posix_fadvise(self._descriptor, start, self.size - start, os.POSIX_FADV_DONTNEED)

    def sync(self) -> None:
        if self._failure is not None:
            raise self._failure
        os.fsync(self._descriptor)

    def finish(self) -> StagedFile:
        self.sync()
        if self.hashed < self.size:
            os.lseek(self._descriptor, self.hashed, os.SEEK_SET)
            with open(self._descriptor, "rb", buffering=0, closefd=False) as stream:
                hashlib.file_digest(stream, lambda: self.sha256)
            self.hashed = self.size
        self._finished = True
        if self._mark is not None:
            # It may be published by a link now: a crash must no longer cut back the file that is then shared.
            self._mark.unlink(missing_ok=True)
            _sync_folder(self.path.parent)
        return StagedFile(self.path, self.size, self.sha256.hexdigest())

    def release(self, *, keep: bool) -> None:
        """Closes the file. What came since it was opened is synced, or without `keep` taken back, unless the
        file was finished: then it may be published already.
        """
        if self._descriptor < 0:
            return
        try:
            if keep or self._finished:
                with suppress(OSError):  # `sync` tells whoever asked
                    os.fsync(self._descriptor)
            else:
                os.ftruncate(self._descriptor, self.start)
            if self._mark is not None:
                self._mark.unlink(missing_ok=True)
        finally:
            self._close()

    def discard(self) -> None:
        """Closes and removes the file. One that was published is no longer at its path, and stays."""
        if self._descriptor < 0:
            return
        try:
            self.path.unlink(missing_ok=True)
        finally:
            self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        _close(descriptor)


def standing(path: Path) -> int:
    """Where an upload can go on: the size of its file without what an atomic block left half done; 0 when
    there is no file. Blocks.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return 0
    try:
        return min(size, int(os.readlink(mark_of(path))))
    except FileNotFoundError:
        return size


def mark_of(path: Path) -> Path:
    """Where the start of an atomic block is noted while it runs."""
    return path.with_suffix(".atomic")


def is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is still the one that the path leads to."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _open_locked(path: Path, *, create: bool) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o644)
    except FileNotFoundError:
        raise _mismatch(0) from None
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
        # Between the two calls it may have been published or removed: then this is no longer the upload.
        if not is_at(path, descriptor):
            raise BlockingIOError
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise UploadLocked from None
        raise
    return descriptor


def _close(descriptor: int) -> None:
    # A process that was forked meanwhile has a copy of the descriptor, so closing alone might not unlock.
    flock(descriptor, LOCK_UN)
    os.close(descriptor)


def _mismatch(size: int) -> OffsetMismatch:
    return OffsetMismatch(f"The upload stands at {size} bytes.", extra={"offset": size})


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
