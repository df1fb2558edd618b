"""A file that is being uploaded: read in blocks, and checked for changes in the meantime."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_BLOCK_BYTES = 1024 * 1024


class FileFailed(Exception):
    """The file cannot be read, or has changed since it was opened; the message says which."""


class LocalFile:
    """An open file. The methods block, so call them in a thread; they raise `FileFailed`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._opened = os.fstat(descriptor)
        self._closed = threading.Event()

    @property
    def size(self) -> int:
        """Bytes, when it was opened."""
        return self._opened.st_size

    def sha256(self, on_progress: Callable[[int], None]) -> str:
        """In hex; `on_progress` gets the number of bytes read so far."""
        digest = hashlib.sha256()
        offset = 0
        while offset < self.size and not self._closed.is_set():
            block = self.read(offset, self.size - offset)
            digest.update(block)
            offset += len(block)
            on_progress(offset)
        self.check()
        return digest.hexdigest()

    def read(self, offset: int, most: int) -> bytes:
        """At least one byte from `offset` on, and at most `most`."""
        try:
            block = os.pread(self._descriptor, min(most, _BLOCK_BYTES), offset)
        except OSError as error:
            raise FileFailed(f"reading it failed: {error.strerror}") from None
        if not block:
            raise FileFailed("it became shorter while it was being read")
        self.check()
        return block

    def check(self) -> None:
        """Raise `FileFailed` if the file was written to since it was opened."""
        now = os.fstat(self._descriptor)
        if now.st_size != self._opened.st_size or now.st_mtime_ns != self._opened.st_mtime_ns:
            raise FileFailed("it changed while it was being read")

    def close(self) -> None:
        # A cancelled read may still be running in its thread. It ends soon, and what it reads, perhaps
        # from another file with the same descriptor, is not used.
        self._closed.set()
        os.close(self._descriptor)


@contextmanager
def open_file(path: str) -> Iterator[LocalFile]:
    try:
        # Non-blocking: the file may have been replaced by a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FileFailed(error.strerror or str(error)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileFailed("it is not a file")
    file = LocalFile(descriptor)
    try:
        yield file
    finally:
        file.close()
