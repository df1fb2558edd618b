"""What Mosic needs from a file system: free space, durable files and folders, locks; and what failures mean.

This is the one place that calls fsync(2), and it has the rule for when that fails. The kernel may then have
dropped the bytes and forgotten that they were new, so that the next fsync of the same file succeeds although
they never reached the disk. So nothing may be synced a second time: bytes that were not confirmed are removed
or cut off, and sent, copied or made again.

Everything here blocks.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock
from pathlib import Path

import structlog

from mosic.errors import InsufficientStorage, MosicError, Unavailable

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Errors of file systems that cannot sync (9p, CIFS, many with FUSE). EIO and similar errors are never among
# them.
_CANNOT_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
# Errors of file systems without hard links (FAT, SMB, many with FUSE), or that a file has too many.
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)
_PROOF_PREFIX = ".mosic-proof-"

_log = structlog.get_logger("mosic.disk")


def is_no_room(error: OSError) -> bool:
    """Whether the disk is full, or a quota or the largest size of a file is reached."""
    return error.errno in _NO_ROOM


def as_refusal(error: OSError) -> MosicError:
    """What to raise from `error`: `InsufficientStorage` when the disk is full, else `Unavailable`, for a
    folder that was removed or made read-only, or a disk that fails. The log then has the cause, without its
    path."""
    if is_no_room(error):
        return InsufficientStorage()
    _log.error("the store cannot be used", cause=error.strerror or type(error).__name__)
    return Unavailable("The store cannot be used at the moment.")


def free_bytes(place: Path | int) -> int:
    """Free space on the disk of a folder or an open file, without what is reserved for root."""
    disk = os.statvfs(place)
    return disk.f_bavail * disk.f_frsize


def size_bytes(place: Path | int) -> int:
    """Of the whole disk of a folder or an open file."""
    disk = os.statvfs(place)
    return disk.f_blocks * disk.f_frsize


@dataclass(frozen=True, slots=True)
class Keeping:
    """How the files of a folder are stored: `reserve` bytes of its disk stay free; files
    get the mode `file_mode`, and folders `folder_mode`."""

    reserve: int = 0
    file_mode: int = 0o640

    @property
    def folder_mode(self) -> int:
        """Those who may read a file may enter its folder."""
        return self.file_mode | (self.file_mode & 0o444) >> 2

    def check_reserve(self, place: Path | int, wanted: int) -> None:
        """Raises `OSError` (ENOSPC) when `wanted` more bytes would not leave the reserve."""
        if self.reserve and free_bytes(place) - wanted < self.reserve:
            raise OSError(errno.ENOSPC, "only the reserve is free")


def fsync(descriptor: int) -> None:
    """Returns once everything written to the open file, by any process, is on the disk.

    On a file system that cannot sync it returns as well; `check_file_system` warns of that at the start.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def fsync_folder(folder: Path) -> None:
    """`fsync` for the names in a folder: a crash can lose the name of a new or renamed file."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int | None = None) -> None:
    """Make the folder and its missing parents, durably.

    A new folder gets the `mode`, regardless of the umask. An existing one stays as it is, but its
    name is synced as well: the process that made it may have been killed before that.
    """
    missing = []
    above = folder
    while not above.is_dir():
        missing.append(above)
        above = above.parent
    for made in reversed(missing):
        with suppress(FileExistsError):
            made.mkdir()
            if mode is not None:
                set_mode(made, mode)
        if not made.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(made))
    try:
        for made in reversed(missing or [folder]):
            # A folder of another account that may be entered but not read cannot be synced.
            with suppress(PermissionError):
                fsync_folder(made.parent)
    except OSError:
        for made in missing:
            with suppress(OSError):
                made.rmdir()
        raise


def set_mode(place: Path | int, mode: int) -> None:
    """`chmod`, where the file system has modes."""
    try:
        os.chmod(place, mode)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
            raise


def publish(path: Path, target: Path, *, replace: bool = False) -> None:
    """Give a synced file its final name, on the same file system, durably.

    Without `replace` a file at `target` stays, and `FileExistsError` is raised; and if the name cannot be
    synced, it is removed again, so that nobody relies on it. A replaced file cannot be restored:
    then the new file stays.
    """
    if replace:
        os.replace(path, target)
    else:
        _link(path, target)
    try:
        fsync_folder(target.parent)
    except OSError:
        if not replace:
            with suppress(OSError):
                target.unlink()
        raise


def _link(path: Path, target: Path) -> None:
    """Like a rename, but never replaces a file."""
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # Names are fresh UUIDs or under a lock of the caller, so only a bug in Mosic could make a file
        # between these two lines.
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        os.rename(path, target)
    else:
        path.unlink(missing_ok=True)


def lock(descriptor: int, *, wait: bool = False, shared: bool = False) -> None:
    """Lock an open file or folder until it is closed or `unlock`ed; `shared` with others who lock it so.

    Raises `BlockingIOError` when another process has it, unless `wait` is set.
    """
    try:
        flock(descriptor, (LOCK_SH if shared else LOCK_EX) | (0 if wait else LOCK_NB))
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):  # NFS says the latter
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK)) from None
        raise


def unlock(descriptor: int) -> None:
    """Closing is not enough if a forked process has a copy of the descriptor."""
    flock(descriptor, LOCK_UN)


@contextmanager
def locked(place: Path, *, wait: bool = False) -> Iterator[int]:
    """Hold the `lock` of an existing file or folder while the block runs; gives its descriptor.

    Children that inherit the descriptor continue to hold it.
    """
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        lock(descriptor, wait=wait)
        yield descriptor
    finally:
        os.close(descriptor)


def check_writable(folder: Path, mode: int | None = None) -> None:
    """Make the folder if it is missing, and write in it. Raises `OSError`."""
    if not folder.is_dir():
        make_folder(folder, mode)
    # Anonymous: nothing is left, whenever the process ends.
    with tempfile.TemporaryFile(dir=folder):
        pass


def check_for_start(folder: Path, mode: int) -> None:
    """`make_folder` and `check_writable`, but a full disk does not stop the start."""
    make_folder(folder, mode)
    try:
        check_writable(folder)
    except OSError as error:
        if not is_no_room(error):
            raise
        _log.error("the disk is full", folder=str(folder))


def check_file_system(folder: Path, setting: str) -> None:
    """Test what Mosic relies on, and log once what this file system does not support. For the start.

    Raises `OSError` when files cannot be locked, which Mosic needs.
    """
    lacks = []
    descriptor, name = tempfile.mkstemp(prefix=_PROOF_PREFIX, dir=folder)
    beside = Path(f"{name}.link")
    try:
        os.write(descriptor, b"proof")
        lock(descriptor)
        if not _can_sync(descriptor):
            lacks.append("files cannot be synced: a recent upload can be lost if the machine crashes")
        folder_descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if not _can_sync(folder_descriptor):
                lacks.append("folders cannot be synced: a new file can lose its name if the machine crashes")
        finally:
            os.close(folder_descriptor)
        try:
            os.link(name, beside)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            lacks.append("hard links are not supported: each complete resumable upload is copied once more")
    finally:
        os.close(descriptor)
        for made in (Path(name), beside):
            with suppress(OSError):
                made.unlink()
    if lacks:
        _log.warning(
            "this file system does not support everything that Mosic uses",
            setting=setting,
            folder=str(folder),
            lacks=lacks,
        )


def _can_sync(descriptor: int) -> bool:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
        return False
    return True
