"""Blobs as files below a folder: `<root>/blobs/<last two digits>/<blob_key>`."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from mosic.blobs.base import BlobStat, check_blob_key, is_blob_key
from mosic.errors import BlobMissing, InsufficientStorage, StartupError, Unavailable

_COPY_BYTES = 1024 * 1024
_UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.[0-9]+")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Linux can say «not in the page cache» instead of waiting for the disk; elsewhere every read takes a thread.
_RWF_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)


class LocalBlobs:
    """Blobs on a file system. `put` is a rename when the staged file lies on the same one."""

    def __init__(self, root: Path) -> None:
        self._root = root / "blobs"
        self._lasting: set[Path] = set()

    async def start(self) -> None:
        try:
            await asyncio.to_thread(self._prove_writable)
        except OSError as error:
            raise StartupError(
                f"MOSIC_MEDIA_ROOT: the folder {self._root} cannot be written: {error.strerror}"
            ) from error

    async def check(self) -> None:
        try:
            await asyncio.to_thread(self._prove_writable)
        except OSError as error:
            raise Unavailable("The store cannot be written.") from error

    def _prove_writable(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        # Anonymous: nothing is left behind, whenever the process ends.
        with tempfile.TemporaryFile(dir=self._root):
            pass

    def _path(self, blob_key: str) -> Path:
        # The last digits of a UUIDv7 are random, its first are time: these spread evenly over 256 folders.
        return self._root / check_blob_key(blob_key)[-2:] / blob_key

    def path_below_root(self, blob_key: str) -> str:
        return self._path(blob_key).relative_to(self._root.parent).as_posix()

    async def put(self, blob_key: str, path: Path) -> None:
        await asyncio.to_thread(self._put, self._path(blob_key), path)

    def _put(self, target: Path, path: Path) -> None:
        try:
            if target.parent not in self._lasting:
                target.parent.mkdir(exist_ok=True)
                # Also where it was there: whoever made it may have died before this.
                _sync_folder(self._root)
                self._lasting.add(target.parent)
            _move_without_replacing(path, target)
            _sync_folder(target.parent)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise InsufficientStorage from error
            raise

    async def stat(self, blob_key: str) -> BlobStat | None:
        try:
            found = await asyncio.to_thread(os.stat, self._path(blob_key))
        except FileNotFoundError:
            return None
        return BlobStat(found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    async def open(self, blob_key: str) -> LocalBlob:
        opening = asyncio.ensure_future(asyncio.to_thread(LocalBlob, self._path(blob_key)))
        try:
            return await asyncio.shield(opening)
        except FileNotFoundError:
            raise BlobMissing from None
        except asyncio.CancelledError:
            # The thread cannot be stopped: whatever descriptor it still opens must be closed.
            opening.add_done_callback(_close_when_opened)
            raise

    async def delete(self, blob_key: str) -> bool:
        return await asyncio.to_thread(self._delete, self._path(blob_key))

    def _delete(self, path: Path) -> bool:
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        _sync_folder(path.parent)
        return True

    async def remove_unfinished(self, grace_seconds: float) -> int:
        return await asyncio.to_thread(_remove_unfinished, self._root, grace_seconds)

    async def keys(self) -> AsyncIterator[str]:
        folders = await asyncio.to_thread(lambda: sorted(self._root.iterdir()))
        for folder in folders:
            for blob_key in await asyncio.to_thread(_keys_in, folder):
                yield blob_key


class LocalBlob:
    """One open file; reads go by position, so that several readers could share it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size

    def read_now(self, start: int, size: int) -> bytearray | None:
        if _RWF_NOWAIT is None:
            return None
        buffer = bytearray(size)
        try:
            read = os.preadv(self._descriptor, [buffer], start, _RWF_NOWAIT)
        except OSError:
            # EAGAIN: not in the cache. EOPNOTSUPP: a file system that cannot tell. A true I/O error will
            # come up again in `read`, which reports it.
            return None
        if not read:
            return None
        if read < size:
            del buffer[read:]
        return buffer

    async def read(self, start: int, size: int) -> bytes:
        return await asyncio.to_thread(os.pread, self._descriptor, size, start)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _close_when_opened(opening: asyncio.Future[LocalBlob]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _keys_in(folder: Path) -> list[str]:
    try:
        names = os.listdir(folder)
    except (NotADirectoryError, FileNotFoundError):
        return []
    return [name for name in names if is_blob_key(name)]


def _move_without_replacing(path: Path, target: Path) -> None:
    """Like a rename, but raises `FileExistsError` where a rename would silently replace a file."""
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno == errno.EXDEV:
            # The store lies on another file system than the staged file (MOSIC_STORE_URL).
            beside = target.with_name(f".{target.name}.{os.getpid()}")
            try:
                with path.open("rb") as source, beside.open("xb") as copy:
                    flock(copy, LOCK_EX)  # tells a sweep that its writer lives
                    shutil.copyfileobj(source, copy, _COPY_BYTES)
                    copy.flush()
                    os.fsync(copy.fileno())
                    _move_without_replacing(beside, target)
            finally:
                beside.unlink(missing_ok=True)
        elif error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            # No hard links here (FAT, SMB, some FUSE). Keys are fresh UUIDs, so the gap between the two
            # lines is one that only a fault in Mosic could fall into.
            if target.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
            os.rename(path, target)
            return
        else:
            raise
    path.unlink(missing_ok=True)


def _remove_unfinished(root: Path, grace_seconds: float) -> int:
    removed = 0
    for path in root.glob("*/.*"):
        if not _UNFINISHED.fullmatch(path.name):
            continue
        with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as copy:
            if time.time() - os.fstat(copy.fileno()).st_mtime >= grace_seconds:
                flock(copy, LOCK_EX | LOCK_NB)
                path.unlink()
                removed += 1
    return removed


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
