"""A file that is being downloaded, next to its final path."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from mosic.client.failures import Failed
from mosic.disk import fsync, lock, publish

_BLOCK_BYTES = 1024 * 1024


class PartialFile:
    """Made where there is none; else what an earlier call has of it. Nobody else writes to it meanwhile.

    It stays when the block ends, unless it was removed or has got its place. All methods raise `Failed`, with
    a reason for people: an error of this disk is none of the connection.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        try:
            while True:
                self._descriptor = os.open(
                    self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666
                )
                try:
                    lock(self._descriptor)
                    if os.path.samestat(os.fstat(self._descriptor), os.stat(self._path)):
                        return self
                except FileNotFoundError:
                    pass
                except BaseException:
                    os.close(self._descriptor)
                    raise
                # Another download has just published it.
                os.close(self._descriptor)
        except BlockingIOError:
            raise Failed(f"another download is writing to {self._path.name}") from None
        except OSError as error:
            raise _failed(error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def write(self, block: bytes) -> None:
        """Append the block."""
        try:
            view = memoryview(block)
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise _failed(error) from error

    def cut(self) -> None:
        """Remove all bytes."""
        try:
            os.ftruncate(self._descriptor, 0)
        except OSError as error:
            raise _failed(error) from error

    def sha256(self) -> str:
        """In hex. Blocks."""
        digest = hashlib.sha256()
        offset = 0
        try:
            while block := os.pread(self._descriptor, _BLOCK_BYTES, offset):
                digest.update(block)
                offset += len(block)
        except OSError as error:
            raise _failed(error) from error
        return digest.hexdigest()

    def publish(self, path: Path, *, replace: bool) -> None:
        """Move it to its final path, durably. Blocks."""
        try:
            fsync(self._descriptor)
            publish(self._path, path, replace=replace)
        except FileExistsError:
            raise Failed("another program has created this file just now; --force overwrites it") from None
        except OSError as error:
            raise _failed(error) from error

    def remove(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise _failed(error) from error


def _failed(error: OSError) -> Failed:
    return Failed(error.strerror or str(error))
