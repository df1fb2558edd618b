"""Disk space: how much uploads leave free, and what can be removed when the database has no room to start.

docs/decisions/0018-room-on-the-disk.md has the reasons.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from mosic import disk
from mosic.disk import Keeping
from mosic.settings import Settings
from mosic.settings.limits import MEBIBYTE
from mosic.staging import LEFTOVER_SECONDS

_log = structlog.get_logger("mosic.room")

STAGING = ".staging"
_NOTE = "media_root"
_RESERVE = 256 * MEBIBYTE
# The database writes its log in files of 16 MiB, and needs several before it can remove one.
_LEAST_BESIDE_DATABASE = 64 * MEBIBYTE
# With this much the database can start.
_TO_START = 32 * MEBIBYTE


@dataclass(slots=True)
class Freed:
    """How many uploads were removed without the database."""

    expired: int = 0
    staged: int = 0
    unfinished: int = 0

    def __bool__(self) -> bool:
        return bool(self.expired or self.staged or self.unfinished)


def keeping_of(settings: Settings, folder: Path) -> Keeping:
    """The rules for files in a folder that exists."""
    return Keeping(reserve=_reserve(settings, folder), file_mode=settings.file_mode)


def keeping_of_backup(settings: Settings, folder: Path) -> Keeping:
    """The rules for a backup. On a disk that the service writes to it leaves as much free as uploads do, for
    the database; another disk it may fill."""
    place = _existing(folder)
    written = (settings.media_root, settings.data_dir)
    shared = any(_existing(path).stat().st_dev == place.stat().st_dev for path in written)
    return keeping_of(settings, place) if shared else Keeping()


def _existing(folder: Path) -> Path:
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return place


def _reserve(settings: Settings, folder: Path) -> int:
    if settings.disk_reserve_mb is not None:
        return settings.disk_reserve_mb * MEBIBYTE
    least = _LEAST_BESIDE_DATABASE if _has_database(settings, folder) else 0
    return min(_RESERVE, max(disk.size_bytes(folder) // 10, least))


def _has_database(settings: Settings, folder: Path) -> bool:
    """Whether the embedded database is on the same disk."""
    if settings.external_database is not None:
        return False
    return _existing(settings.data_dir).stat().st_dev == folder.stat().st_dev


def note_media_root(settings: Settings) -> None:
    """Write beside the embedded database which media root belongs to it, once that is certain. Blocks."""
    note = settings.data_dir / _NOTE
    if settings.external_database is not None or _belongs(settings):
        return
    beside = note.with_name(f".{_NOTE}.{os.getpid()}")
    try:
        beside.write_text(os.path.realpath(settings.media_root), "utf-8", "surrogateescape")
        disk.publish(beside, note, replace=True)
    except OSError as error:
        _log.warning("the owners of these uploads could not be recorded", cause=error.strerror)
    finally:
        with suppress(OSError):
            beside.unlink()


def _belongs(settings: Settings) -> bool:
    """Whether this database was used with this media root before: a mistyped setting must not remove the
    uploads of another service."""
    with suppress(OSError):
        noted = (settings.data_dir / _NOTE).read_text("utf-8", "surrogateescape")
        return noted == os.path.realpath(settings.media_root)
    return False


def is_short(settings: Settings) -> bool:
    """Whether the disk of the uploads is so full that the embedded database on it may not start; False where
    it is not known that both belong to the same service."""
    try:
        beside = _has_database(settings, settings.media_root) and _belongs(settings)
        return beside and _lacks(settings) > 0
    except OSError:
        return False


def free_without_database(settings: Settings, *, unfinished: bool) -> Freed:
    """Remove uploads that have expired, and files of requests that are over. With `unfinished`, if the
    database still has no room to start, remove other unfinished uploads as well, those that were idle for the
    longest first, until it has.

    What a process is writing to stays, and clips are never touched. The sender of an unfinished upload that
    is removed starts again from its first byte. Blocks.
    """
    freed = Freed()
    now = time.time()
    for path, changed_at in _uploads(settings, "*.part"):
        if now - changed_at >= LEFTOVER_SECONDS or unfinished:
            freed.staged += _remove(path)
    for path, changed_at in _uploads(settings, "*.upload"):
        if now - changed_at >= settings.upload_expiry_seconds:
            freed.expired += _remove(path)
    if unfinished:
        for path, _ in sorted(_uploads(settings, "*.upload"), key=lambda found: found[1]):
            if not is_short(settings):
                break
            if _remove(path):
                freed.unfinished += 1
                _log.warning(
                    "an unfinished upload was removed: the database has no disk space", file=path.name
                )
    if freed:
        _log.warning(
            "disk space was freed without the database",
            expired=freed.expired,
            staged=freed.staged,
            unfinished=freed.unfinished,
        )
    return freed


def _lacks(settings: Settings) -> int:
    """How many bytes of free space are missing for a start; never more than the reserve."""
    needed = min(_TO_START, _reserve(settings, settings.media_root) // 2)
    return needed - disk.free_bytes(settings.media_root)


def _uploads(settings: Settings, pattern: str) -> Iterator[tuple[Path, float]]:
    for path in (settings.media_root / STAGING).glob(pattern):
        with suppress(OSError):
            yield path, path.stat().st_mtime


def _remove(path: Path) -> bool:
    with suppress(OSError), disk.locked(path):
        path.unlink()
        return True
    return False
