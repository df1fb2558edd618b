"""Blobs as files below a folder: `<root>/blobs/<last two digits>/<blob_key>`."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from mosic import disk
from mosic.blobs.base import BlobStat, Span, check_blob_key, is_blob_key
from mosic.blobs.identity import IDENTITY_NAME, read_file, write_file
from mosic.blobs.openfiles import FileSpan, OpenFiles
from mosic.disk import Keeping, as_refusal
from mosic.errors import BlobMissing, StartupError

_COPY_BYTES = 1024 * 1024
_UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.[0-9]+")


class LocalBlobs:
    """Blobs on a file system. `put` is a rename when the staged file lies on the same one.

    A context manager: entering makes the folder and proves that it can be written, or raises `StartupError`;
    after leaving it nothing can be read any more.
    """

    def __init__(
        self, root: Path, keeping: Keeping | None = None, *, most_kept_open: int | None = None
    ) -> None:
        """`most_kept_open` files stay open for their next readers; by default a share of what the process may
        have open."""
        self._root = root / "blobs"
        self._keeping = keeping or Keeping()
        self._open_files = OpenFiles(self._path, most_kept_open)
        self._synced_folders: set[Path] = set()

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(disk.check_for_start, self._root, self._keeping.folder_mode)
        except OSError as error:
            raise StartupError(
                f"MOSIC_MEDIA_ROOT: the folder {self._root} cannot be written: {error.strerror}"
            ) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open_files.close()

    async def check_writable(self) -> None:
        try:
            await asyncio.to_thread(disk.check_writable, self._root, self._keeping.folder_mode)
        except OSError as error:
            raise as_refusal(error) from error

    def _path(self, blob_key: str) -> Path:
        # The last digits of a UUIDv7 are random, its first are time: these spread evenly over 256 folders.
        return self._root / check_blob_key(blob_key)[-2:] / blob_key

    def file_of(self, blob_key: str) -> Path:
        return self._path(blob_key)

    def path_below_root(self, blob_key: str) -> str:
        return self._path(blob_key).relative_to(self._root.parent).as_posix()

    async def put(self, blob_key: str, path: Path) -> None:
        await asyncio.to_thread(self._put, self._path(blob_key), path)
        # One that was lost and comes back is another file.
        self._open_files.discard(blob_key)

    def _put(self, target: Path, path: Path) -> None:
        try:
            self._make_folder(target.parent)
            self._publish(path, target)
        except FileExistsError:
            raise
        except OSError as error:
            # Should it be that somebody removed the folder, the next one makes it again.
            self._synced_folders.discard(target.parent)
            raise as_refusal(error) from error

    def _make_folder(self, folder: Path) -> None:
        if folder not in self._synced_folders:
            disk.make_folder(folder, self._keeping.folder_mode)
            self._synced_folders.add(folder)

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
                    self._keeping.check_reserve(copy.fileno(), len(chunk))
                    copy.write(chunk)
                copy.flush()
                disk.fsync(copy.fileno())
                disk.publish(beside, target)
        finally:
            beside.unlink(missing_ok=True)

    async def copy(self, blob_key: str, other_key: str) -> None:
        await asyncio.to_thread(self._link_or_copy, self._path(blob_key), self._path(other_key))

    def _link_or_copy(self, path: Path, target: Path) -> None:
        try:
            self._make_folder(target.parent)
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
            self._synced_folders.discard(target.parent)
            raise as_refusal(error) from error

    async def stat(self, blob_key: str) -> BlobStat | None:
        try:
            found = await asyncio.to_thread(os.stat, self._path(blob_key))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise as_refusal(error) from error
        return BlobStat(found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def open(self, blob_key: str, span: Span | None = None) -> FileSpan:
        return FileSpan(self._open_files, blob_key, span)

    def read_now(self, blob_key: str, span: Span, blob_size: int) -> bytearray | None:
        return self._open_files.read_now(blob_key, span, blob_size)

    async def delete(self, blob_key: str) -> bool:
        removed = await asyncio.to_thread(self._delete, self._path(blob_key))
        self._open_files.discard(blob_key)
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

    async def read_identity(self) -> bytes | None:
        try:
            return await asyncio.to_thread(read_file, self._root.parent / IDENTITY_NAME)
        except OSError as error:
            raise as_refusal(error) from error

    async def write_identity(self, content: bytes, *, replace: bool = False) -> bool:
        path = self._root.parent / IDENTITY_NAME
        try:
            await asyncio.to_thread(write_file, path, content, self._keeping.file_mode, replace=replace)
        except FileExistsError:
            return False
        except OSError as error:
            raise as_refusal(error) from error
        return True


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
