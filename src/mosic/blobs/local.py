"""Blobs as files below a folder: `<root>/blobs/<last two digits>/<blob_key>`."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import secrets
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import ClassVar

from mosic import disk
from mosic.blobs.base import BlobStat, check_blob_key, is_blob_key
from mosic.blobs.identity import IDENTITY_NAME, read_file, write_file
from mosic.blobs.kept import KeptFiles, SharedFile
from mosic.disk import Keeping, as_refusal
from mosic.errors import BlobMissing, StartupError, Unavailable

_COPY_BYTES = 1024 * 1024
_UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.[0-9]+")
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
# Linux can say «not in the page cache» instead of waiting for the disk; elsewhere every read takes a thread.
_RWF_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)
# Of their own, so that uploads, which use the loop's, do not hold up listeners. They wait for the disk.
_READING_THREADS = 16


class LocalBlobs:
    """Blobs on a file system. `put` is a rename when the staged file lies on the same one."""

    lasting: ClassVar[bool] = True

    def __init__(
        self, root: Path, keeping: Keeping | None = None, *, most_kept_open: int | None = None
    ) -> None:
        """`most_kept_open` files stay open for their next readers; by default a share of what the process may
        have open."""
        self._root = root / "blobs"
        self._keeping = keeping or Keeping()
        self._kept = KeptFiles(most_kept_open)
        self._threads = ThreadPoolExecutor(_READING_THREADS, thread_name_prefix="mosic-blobs")
        self._lasting: set[Path] = set()

    async def start(self) -> None:
        try:
            await asyncio.to_thread(disk.prove_for_start, self._root, self._keeping.folder_mode)
        except OSError as error:
            raise StartupError(
                f"MOSIC_MEDIA_ROOT: the folder {self._root} cannot be written: {error.strerror}"
            ) from error

    async def check(self) -> None:
        try:
            await asyncio.to_thread(disk.prove_writable, self._root, self._keeping.folder_mode)
        except OSError as error:
            raise as_refusal(error) from error

    def _path(self, blob_key: str) -> Path:
        # The last digits of a UUIDv7 are random, its first are time: these spread evenly over 256 folders.
        return self._root / check_blob_key(blob_key)[-2:] / blob_key

    def path_below_root(self, blob_key: str) -> str:
        return self._path(blob_key).relative_to(self._root.parent).as_posix()

    async def put(self, blob_key: str, path: Path) -> None:
        await asyncio.to_thread(self._put, self._path(blob_key), path)

    def _put(self, target: Path, path: Path) -> None:
        try:
            self._make_lasting(target.parent)
            self._publish(path, target)
        except FileExistsError:
            raise
        except OSError as error:
            # Should it be that somebody removed the folder, the next one makes it again.
            self._lasting.discard(target.parent)
            raise as_refusal(error) from error

    def _make_lasting(self, folder: Path) -> None:
        if folder not in self._lasting:
            disk.make_folder(folder, self._keeping.folder_mode)
            self._lasting.add(folder)

    def _publish(self, path: Path, target: Path) -> None:
        try:
            disk.publish(path, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # The store lies on another file system than the staged file (MOSIC_STORE_URL).
            self._copy(path, target)
            path.unlink(missing_ok=True)

    def _copy(self, path: Path, target: Path) -> None:
        beside = target.with_name(f".{target.name}.{secrets.randbelow(10**18)}")
        try:
            with path.open("rb") as source, beside.open("xb") as copy:
                disk.lock(copy.fileno())  # tells a sweep that its writer lives
                disk.set_mode(copy.fileno(), self._keeping.file_mode)
                while chunk := source.read(_COPY_BYTES):
                    self._keeping.spare_the_reserve(copy.fileno(), len(chunk))
                    copy.write(chunk)
                copy.flush()
                disk.fsync(copy.fileno())
                disk.publish(beside, target)
        finally:
            beside.unlink(missing_ok=True)

    async def duplicate(self, blob_key: str, other_key: str) -> None:
        await asyncio.to_thread(self._duplicate, self._path(blob_key), self._path(other_key))

    def _duplicate(self, path: Path, target: Path) -> None:
        try:
            self._make_lasting(target.parent)
            try:
                os.link(path, target)
            except OSError as error:
                if error.errno not in disk.NO_LINKS:
                    raise
                self._copy(path, target)
            disk.fsync_folder(target.parent)
        except FileExistsError:
            raise
        except FileNotFoundError:
            raise BlobMissing from None
        except OSError as error:
            self._lasting.discard(target.parent)
            raise as_refusal(error) from error

    async def stat(self, blob_key: str) -> BlobStat | None:
        try:
            found = await asyncio.to_thread(os.stat, self._path(blob_key))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise as_refusal(error) from error
        return BlobStat(found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def open_now(self, blob_key: str) -> LocalBlob | None:
        file = self._kept.lend(blob_key)
        return LocalBlob(file, self._threads) if file is not None else None

    async def open(self, blob_key: str) -> LocalBlob:
        file = self._kept.lend(blob_key) or self._kept.add(blob_key, await self._open(blob_key))
        return LocalBlob(file, self._threads)

    async def _open(self, blob_key: str) -> SharedFile:
        loop = asyncio.get_running_loop()
        path = str(self._path(blob_key))
        opening = loop.run_in_executor(self._threads, SharedFile, path, self._close_soon)
        try:
            return await asyncio.shield(opening)
        except FileNotFoundError:
            raise BlobMissing from None
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS:
                self._kept.forget_all()
                raise Unavailable("Too many files are open.") from error
            raise as_refusal(error) from error
        except asyncio.CancelledError:
            # The thread cannot be stopped: whatever descriptor it still opens must be closed.
            opening.add_done_callback(_release_when_opened)
            raise

    def _close_soon(self, descriptor: int) -> None:
        # In a thread: whoever closes a removed file as the last waits until the file system has freed it.
        try:
            self._threads.submit(os.close, descriptor)
        except RuntimeError:  # the store was closed before its last reader let go
            os.close(descriptor)

    def forget(self, blob_key: str) -> None:
        self._kept.forget(blob_key)

    def forget_all(self) -> None:
        self._kept.forget_all()

    async def close(self) -> None:
        self._kept.forget_all()
        await asyncio.to_thread(self._threads.shutdown)

    async def delete(self, blob_key: str) -> bool:
        removed = await asyncio.to_thread(self._delete, self._path(blob_key))
        self._kept.forget(blob_key)
        return removed

    def _delete(self, path: Path) -> bool:
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        disk.fsync_folder(path.parent)
        return True

    async def remove_unfinished(self, grace_seconds: float) -> int:
        return await asyncio.to_thread(_remove_unfinished, self._root, grace_seconds)

    async def keys(self) -> AsyncIterator[str]:
        folders = await asyncio.to_thread(lambda: sorted(self._root.iterdir()))
        for folder in folders:
            for blob_key in await asyncio.to_thread(_keys_in, folder):
                yield blob_key

    async def identity(self) -> bytes | None:
        try:
            return await asyncio.to_thread(read_file, self._root.parent / IDENTITY_NAME)
        except OSError as error:
            raise as_refusal(error) from error

    async def identify(self, content: bytes, *, replace: bool = False) -> bool:
        path = self._root.parent / IDENTITY_NAME
        try:
            await asyncio.to_thread(write_file, path, content, self._keeping.file_mode, replace=replace)
        except FileExistsError:
            return False
        except OSError as error:
            raise as_refusal(error) from error
        return True


class LocalBlob:
    """One reader's share of an open file. Reads go by position, so that readers do not disturb each other."""

    __slots__ = ("_file", "_threads", "size")

    def __init__(self, file: SharedFile, threads: ThreadPoolExecutor) -> None:
        self._file: SharedFile | None = file
        self._threads = threads
        self.size = file.size

    def read_now(self, start: int, size: int) -> bytearray | None:
        assert self._file is not None
        if _RWF_NOWAIT is None:
            return None
        buffer = bytearray(size)
        try:
            read = os.preadv(self._file.descriptor, (buffer,), start, _RWF_NOWAIT)
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
        assert self._file is not None
        file = self._file
        loop = asyncio.get_running_loop()
        # The thread reads on when the task that waits for it is cancelled: it has a share of its own.
        file.take()
        reading = loop.run_in_executor(self._threads, os.pread, file.descriptor, size, start)
        reading.add_done_callback(partial(_release_when_read, file))
        return await asyncio.shield(reading)

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.release()


def _release_when_read(file: SharedFile, reading: asyncio.Future[bytes]) -> None:
    file.release()
    if not reading.cancelled():
        reading.exception()  # whoever still waits raises it; if nobody does, it is not news


def _release_when_opened(opening: asyncio.Future[SharedFile]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().release()


def _keys_in(folder: Path) -> list[str]:
    try:
        names = os.listdir(folder)
    except (NotADirectoryError, FileNotFoundError):
        return []
    return [name for name in names if is_blob_key(name)]


def _remove_unfinished(root: Path, grace_seconds: float) -> int:
    removed = 0
    for path in root.glob("*/.*"):
        if not _UNFINISHED.fullmatch(path.name):
            continue
        with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as copy:
            if time.time() - os.fstat(copy.fileno()).st_mtime >= grace_seconds:
                disk.lock(copy.fileno())
                path.unlink()
                removed += 1
    return removed
