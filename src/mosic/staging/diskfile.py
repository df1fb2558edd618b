"""The file under an upload on its way in, which only one thread touches."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from pathlib import Path
from typing import TYPE_CHECKING

from mosic.errors import OffsetMismatch, UploadLocked

if TYPE_CHECKING:
    from hashlib import _Hash

_COPY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A whole file, fsynced, not yet published. `sha256` is in hex."""

    path: Path
    size: int
    sha256: str


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

    def resume(
        self, offset: int, known: tuple[int, _Hash] | None, *, atomic: bool, cut: bool = False
    ) -> None:
        """Opens the file of an upload that stands at `offset`, a new one at 0; with `cut` also one that has
        more, which goes. `known`: a size and the hash that the file had then. With `atomic` a crash before
        `release` takes the file back to `offset`.
        """
        descriptor = _open_locked(self.path, create=offset == 0)
        try:
            size = standing(self.path)
            if size != offset and not (cut and size > offset):
                raise _mismatch(size)
            os.ftruncate(descriptor, offset)
            self._begin(offset, atomic=atomic)
            if offset == 0:
                _sync_folder(self.path.parent)
            if known is not None and known[0] <= offset:
                self.hashed, self.sha256 = known[0], known[1].copy()
        except BaseException:
            _close(descriptor)
            raise
        self._descriptor = descriptor
        self.start = self.size = offset

    def copy(self, source: Path, offset: int, *, atomic: bool) -> None:
        """Makes the file, of the first `offset` bytes of another that somebody may still write to behind
        them. Once it returns they are on the disk for good."""
        self._descriptor = _open_locked(self.path, create=True)
        also, self._also = self._also, None  # which is about the bytes to come
        try:
            with suppress(FileNotFoundError), source.open("rb", buffering=0) as whole:
                while chunk := whole.read(min(_COPY_BYTES, offset - self.size)):
                    self.store((chunk,))
            if self.size != offset:
                raise _mismatch(self.size)
            self._begin(offset, atomic=atomic)
            self.sync()
            _sync_folder(self.path.parent)
        except BaseException:
            self.discard()
            raise
        self._also, self.start = also, offset

    def _begin(self, offset: int, *, atomic: bool) -> None:
        mark = mark_of(self.path)
        mark.unlink(missing_ok=True)
        if atomic:
            # A symbolic link appears together with its content, unlike a file.
            mark.symlink_to(str(offset))
            self._mark = mark

    def store(self, chunks: Sequence[bytes | bytearray | memoryview]) -> None:
        if self._failure is not None:
            raise self._failure  # what would follow a hole is of no use
        start = self.size
        try:
            for chunk in chunks:
                self._store(memoryview(chunk))
        except OSError as error:
            self._failure = error
            raise
        if hasattr(os, "posix_fadvise"):
            # For pages just written this means on Linux: start writing them out, wait for nothing. So fsync
            # finds little left to do. Being dirty they stay cached, for the probe and the first listener.
            os.posix_fadvise(self._descriptor, start, self.size - start, os.POSIX_FADV_DONTNEED)

    def _store(self, view: memoryview) -> None:
        while view:
            written = os.pwrite(self._descriptor, view, self.size)
            if self.hashed == self.size:
                self.sha256.update(view[:written])
                self.hashed += written
            if self._also is not None:
                self._also.update(view[:written])
            self.size += written
            view = view[written:]

    def sync(self) -> None:
        if self._failure is not None:
            raise self._failure
        os.fsync(self._descriptor)

    def finish(self) -> StagedFile:
        self.sync()
        if self.hashed < self.size:
            _hash_on(self._descriptor, self.hashed, self.sha256)
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


def read_whole(path: Path, known: tuple[int, _Hash] | None) -> StagedFile:
    """A file that has all its bytes, while somebody else may hold it. Blocks; raises `FileNotFoundError`."""
    hashed, sha256 = (known[0], known[1].copy()) if known is not None else (0, hashlib.sha256())
    with path.open("rb", buffering=0) as file:
        os.fsync(file.fileno())
        _hash_on(file.fileno(), hashed, sha256)
        return StagedFile(path, os.fstat(file.fileno()).st_size, sha256.hexdigest())


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


def _hash_on(descriptor: int, start: int, sha256: _Hash) -> None:
    os.lseek(descriptor, start, os.SEEK_SET)
    with open(descriptor, "rb", buffering=0, closefd=False) as stream:
        hashlib.file_digest(stream, lambda: sha256)


def _open_locked(path: Path, *, create: bool) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o644)
    except FileNotFoundError:
        if create:  # it is the folder that is missing
            raise
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
