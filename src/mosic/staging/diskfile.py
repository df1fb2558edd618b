"""The file that an upload is received into, which only one thread touches."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mosic import disk
from mosic.disk import Keeping
from mosic.errors import OffsetMismatch, UploadLocked
from mosic.staging.base import StagedFile
from mosic.wire.tus import Checksum

if TYPE_CHECKING:
    from hashlib import _Hash

_COPY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class KnownHash:
    """A hash of the first `hashed` bytes of a file as it was when `status` was taken.

    It is right for as long as nobody has written there: another process may have cut them off and written
    others, but not once they were `acknowledged`.
    """

    hashed: int
    sha256: _Hash
    status: os.stat_result
    acknowledged: bool

    def is_right_for(self, now: os.stat_result) -> bool:
        if not os.path.samestat(self.status, now):
            return False
        unchanged = (self.status.st_size, self.status.st_mtime_ns) == (now.st_size, now.st_mtime_ns)
        return unchanged or (self.acknowledged and now.st_size >= self.hashed)


class DiskFile:
    """Everything here blocks and is called by the thread of the file; others may read the counts.

    The file is locked while it is open, so that other processes see that its writer lives. `start` is its
    size when it was opened, `size` its size now, `sha256` the hash of its first `hashed` bytes. `confirmed`
    bytes are on the disk for good; `acknowledged` says whether the sender was promised all of them.

    After an error of a write or a sync the bytes behind `confirmed` are cut off: `mosic.disk` says why. Where
    only the disk is full, `salvage` can confirm what was written before.
    """

    def __init__(self, path: Path, keeping: Keeping, *, checksum: Checksum | None = None) -> None:
        """The `checksum` is that of the bytes that are stored after the file was opened."""
        self.path = path
        self.start = self.size = self.hashed = self.confirmed = 0
        self.sha256 = hashlib.sha256()
        self.acknowledged = False
        self.known: KnownHash | None = None
        self._hash_at_start = 0, hashlib.sha256()
        self._keeping = keeping
        self._checksum = checksum
        self._checked = checksum.hasher() if checksum is not None else None
        self._descriptor = -1
        self._failure: OSError | None = None
        self._finished = False

    def create(self) -> None:
        while self._descriptor < 0:
            # Just before it is locked a sweep may remove it as a leftover: then it is made again.
            with suppress(UploadLocked):
                self._descriptor = self._open_locked(create=True)

    def resume(self, offset: int, known: KnownHash | None, *, cut: bool = False) -> None:
        """Opens the file of an upload whose first `offset` bytes were confirmed, and has no more; makes it
        where the offset is 0. With `cut` a file that has more is cut."""
        descriptor = self._open_locked(create=offset == 0)
        try:
            status = os.fstat(descriptor)
            if status.st_size != offset and not (cut and status.st_size > offset):
                raise _mismatch(status.st_size)
            if known is not None and known.hashed <= offset and known.is_right_for(status):
                self.hashed, self.sha256 = known.hashed, known.sha256.copy()
            if status.st_size > offset:
                os.ftruncate(descriptor, offset)
            if offset == 0:
                disk.fsync_folder(self.path.parent)
        except BaseException:
            _close(descriptor)
            raise
        self._descriptor = descriptor
        self.start = self.size = self.confirmed = offset
        self._hash_at_start = self.hashed, self.sha256.copy()

    def copy(self, source: Path, offset: int) -> None:
        """Makes the file, of the first `offset` bytes of another that somebody may still write to behind
        them. Once it returns they are on the disk for good."""
        self._descriptor = self._open_locked(create=True)
        try:
            with suppress(FileNotFoundError), source.open("rb", buffering=0) as whole:
                while chunk := whole.read(min(_COPY_BYTES, offset - self.size)):
                    self.store((chunk,))
            if self.size != offset:
                raise _mismatch(self.size)
            self.sync()
            disk.fsync_folder(self.path.parent)
        except BaseException:
            self.discard()
            raise

    def store(self, chunks: Sequence[bytes | bytearray | memoryview]) -> None:
        if self._failure is not None:
            raise self._failure  # bytes behind a hole are of no use
        start = self.size
        try:
            # Not only what was declared counts: others may have filled the disk meanwhile.
            self._keeping.check_reserve(self._descriptor, sum(map(len, chunks)))
            for chunk in chunks:
                self._store(memoryview(chunk))
        except OSError as error:
            self._fail(error)
            raise
        if hasattr(os, "posix_fadvise"):
            # For pages just written, Linux starts to write them out and waits for nothing, so fsync finds
            # little left to do. Dirty pages stay cached, for the probe and the first listener.
            os.posix_fadvise(self._descriptor, start, self.size - start, os.POSIX_FADV_DONTNEED)

    def _store(self, view: memoryview) -> None:
        while view:
            written = os.pwrite(self._descriptor, view, self.size)
            if self.hashed == self.size:
                self.sha256.update(view[:written])
                self.hashed += written
            if self._checked is not None:
                self._checked.update(view[:written])
            self.size += written
            view = view[written:]

    def sync(self) -> None:
        """Raises `ChecksumMismatch` before anything is confirmed."""
        if self._failure is not None:
            raise self._failure
        if self._checksum is not None and self._checked is not None:
            self._checksum.verify(self._checked)
        self._confirm()

    def _confirm(self) -> None:
        if self.confirmed == self.size:
            return
        try:
            disk.fsync(self._descriptor)
        except OSError as error:
            self._fail(error, lost=True)
            raise
        self.confirmed = self.size

    def _fail(self, error: OSError, *, lost: bool = False) -> None:
        self._failure = error
        if lost or not disk.is_no_room(error):
            self._take_back(self.confirmed)

    def _take_back(self, offset: int) -> None:
        """It does not matter whether a crash undoes this: the row of an upload says how much counts."""
        if offset < self.size:
            self.size = offset
            if self.hashed > offset:
                self.hashed, self.sha256 = self._hash_at_start
            with suppress(OSError):
                os.ftruncate(self._descriptor, offset)
                disk.fsync(self._descriptor)

    def salvage(self) -> int:
        """After a failure: how much is on the disk for good. What was written before the disk was full can
        still be confirmed; anything else that was not confirmed is gone."""
        if self._failure is not None and self.confirmed < self.size:
            with suppress(OSError):
                self._confirm()
        return self.confirmed

    def finish(self) -> StagedFile:
        self.sync()
        if self.hashed < self.size:
            hash_on(self._descriptor, self.hashed, self.sha256)
            self.hashed = self.size
        # From now on it may be published by a link, and a blob is never cut.
        self._finished = True
        return StagedFile(self.path, self.size, self.sha256.hexdigest())

    def release(self, *, keep: bool) -> None:
        """Closes the file. With `keep`, or when it was finished and so may be published, what was written is
        synced, and cut off where that fails; else all that was written since it was opened is cut off."""
        if self._descriptor < 0:
            return
        try:
            if not keep and not self._finished:
                self._take_back(self.start)
            elif self._failure is not None:
                self.salvage()
            else:
                with suppress(OSError):  # which has taken back what was not confirmed
                    self._confirm()
            status = os.fstat(self._descriptor)
            self.known = KnownHash(self.hashed, self.sha256, status, self.acknowledged)
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

    def _open_locked(self, *, create: bool) -> int:
        path, mode = self.path, self._keeping.file_mode
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), mode)
        except FileNotFoundError:
            if create:  # it is the folder that is missing
                raise
            raise _mismatch(0) from None
        try:
            disk.lock(descriptor)
            # Between the two calls it may have been published or removed: then this is no longer the upload.
            if not is_at(path, descriptor):
                raise BlockingIOError
            if create:
                disk.set_mode(descriptor, mode)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise UploadLocked from None
            raise
        return descriptor

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        _close(descriptor)


def is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is still the one that the path leads to."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def hash_on(descriptor: int, start: int, sha256: _Hash) -> None:
    os.lseek(descriptor, start, os.SEEK_SET)
    with open(descriptor, "rb", buffering=0, closefd=False) as stream:
        hashlib.file_digest(stream, lambda: sha256)


def _close(descriptor: int) -> None:
    disk.unlock(descriptor)
    os.close(descriptor)


def _mismatch(size: int) -> OffsetMismatch:
    return OffsetMismatch(f"The upload is at offset {size}.", extra={"offset": size})
