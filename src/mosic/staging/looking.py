"""What can be seen of the file of an upload without being its writer. Everything here blocks."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from mosic import disk
from mosic.staging.base import StagedFile
from mosic.staging.diskfile import KnownHash, hash_on


def is_locked(path: Path) -> bool:
    """Whether a living process has the file locked."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        try:
            disk.lock(file.fileno(), shared=True)
        except BlockingIOError:
            return True
        disk.unlock(file.fileno())
    return False


def read_whole(path: Path, known: KnownHash | None) -> StagedFile:
    """A file that has all its bytes, while a writer may still have it. Raises `FileNotFoundError`."""
    with path.open("rb", buffering=0) as file:
        disk.fsync(file.fileno())
        status = os.fstat(file.fileno())
        hashed, sha256 = 0, hashlib.sha256()
        if known is not None and known.is_right_for(status):
            hashed, sha256 = known.hashed, known.sha256.copy()
        if hashed < status.st_size:
            hash_on(file.fileno(), hashed, sha256)
        return StagedFile(path, status.st_size, sha256.hexdigest())


def size_of(path: Path) -> int:
    """0 when there is no file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def confirm(path: Path) -> int:
    """How much of the file is on the disk for good, whoever has written it; 0 when there is no file. Raises
    `OSError` when that cannot be said."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        size = os.fstat(descriptor).st_size
        disk.fsync(descriptor)
        return size
    finally:
        os.close(descriptor)
