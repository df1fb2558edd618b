"""Files of a backup, which may lie where others write.

No link is followed, no pipe waited for, no device taken for a file.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from mosic import disk
from mosic.disk import Keeping

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_STRANGE = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO)


class ArchiveError(Exception):
    """The backup cannot be made or used; the message is a sentence for the operator."""


def open_file(top: Path, name: str) -> BufferedReader:
    """A plain file below `top`, each folder on the way a folder. Raises `FileNotFoundError`, `ArchiveError`
    for everything that is no plain file, `OSError`."""
    *folders, last = name.split("/")
    path = top / name
    try:
        folder = open_folder(top, folders)
        try:
            descriptor = os.open(last, _FILE, dir_fd=folder)
        finally:
            os.close(folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _STRANGE:
            raise ArchiveError(f"The backup is damaged: {path} is not a regular file.") from None
        error.filename = str(path)
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ArchiveError(f"The backup is damaged: {path} is not a regular file.")
    return open(descriptor, "rb")


def open_folder(top: Path, names: Sequence[str]) -> int:
    """A descriptor of a folder below `top`, which itself may be a link. Raises `OSError`."""
    folder = os.open(top, _FOLDER & ~os.O_NOFOLLOW)
    for name in names:
        try:
            below = os.open(name, _FOLDER, dir_fd=folder)
        finally:
            os.close(folder)
        folder = below
    return folder


def file_size(top: Path, name: str) -> int | None:
    """None where there is not a regular file."""
    try:
        with open_file(top, name) as file:
            return os.fstat(file.fileno()).st_size
    except (FileNotFoundError, ArchiveError):
        return None


def make_folder(folder: Path) -> None:
    """A real folder, for good. Raises `ArchiveError` where something else has the name."""
    if os.path.lexists(folder) and not stat.S_ISDIR(folder.lstat().st_mode):
        raise ArchiveError(f"{folder} is in the way of the backup: it is not a folder.")
    disk.make_folder(folder)


class IncomingFile:
    """A file that is seen under its name only when it is whole and on disk."""

    def __init__(self, path: Path, keeping: Keeping | None = None) -> None:
        """Of `keeping` the reserve counts."""
        self.path = path
        self._keeping = keeping or Keeping()
        self.size = 0
        self._digest = hashlib.sha256()
        self._beside = path.with_name(f".{path.name}.part")
        # What a killed backup left there, or anything else.
        self._beside.unlink(missing_ok=True)
        self._file = self._beside.open("xb")

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, chunk: bytes | bytearray) -> None:
        """Raises `OSError`, also when only the reserve is free."""
        self._keeping.check_reserve(self._file.fileno(), len(chunk))
        self._file.write(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)

    def keep(self, *, replacing: bool = False) -> None:
        """Give it its name. Raises `OSError`: then nothing is there under that name.

        With `replacing` the new file is there even so when only its name could not be synced, in the place of
        one that could not be had back.
        """
        try:
            self._file.flush()
            disk.fsync(self._file.fileno())
            self._file.close()
            if not replacing:
                self.path.unlink(missing_ok=True)
            disk.publish(self._beside, self.path, replace=replacing)
        except OSError:
            self.discard()
            raise

    def discard(self) -> None:
        with suppress(OSError):  # what is still to be written is not wanted
            self._file.close()
        with suppress(OSError):
            self._beside.unlink()
