"""The paths of a command line → the files to upload."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePath

from mosic.audio.types import SOUND_ENDINGS


@dataclass(frozen=True, slots=True)
class Found:
    """`path` as the user would write it; `size` in bytes, when it was found."""

    path: str
    size: int

    @property
    def name(self) -> str:
        return PurePath(self.path).name


@dataclass(slots=True)
class Gathered:
    """`skipped` counts what lies in the folders and is hidden or no audio by its name; `unreadable` are
    folders, each with the reason."""

    files: list[Found] = field(default_factory=list)
    skipped: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)


class BadPath(Exception):
    """A given path is neither a file nor a folder; the message says which and why."""


def gather(paths: Iterable[str]) -> Gathered:
    """Given files are taken as they are; folders are searched for audio, in the order of names.

    Links are followed. No folder is searched twice, so that circular links end, and no path is taken twice.
    Raises `BadPath`.
    """
    gathered = Gathered()
    taken: set[str] = set()
    searched: set[tuple[int, int]] = set()
    for path in paths:
        try:
            status = os.stat(path)
        except (OSError, ValueError) as error:
            raise BadPath(f"{path}: {_reason(error)}") from None
        if stat.S_ISDIR(status.st_mode):
            found = _search(path, gathered, searched)
        elif stat.S_ISREG(status.st_mode):
            found = iter((Found(path, status.st_size),))
        else:
            raise BadPath(f"{path}: neither a file nor a folder")
        for one in found:
            if (where := os.path.abspath(one.path)) not in taken:
                taken.add(where)
                gathered.files.append(one)
    return gathered


def _search(top: str, gathered: Gathered, searched: set[tuple[int, int]]) -> Iterator[Found]:
    pending = [top]
    while pending:
        folder = pending.pop()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in searched:
                continue
            searched.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            gathered.unreadable.append((folder, _reason(error)))
            continue
        inside = []
        for entry in entries:
            hidden = entry.name.startswith(".")
            if not hidden and _is_folder(entry):
                inside.append(entry.path)
            elif not hidden and _is_audio(entry):
                yield Found(entry.path, _size_of(entry))
            else:
                gathered.skipped += 1
        pending.extend(reversed(inside))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_audio(entry: os.DirEntry[str]) -> bool:
    """By its name, and not a pipe or the like. A broken link counts: opening it gives the error to show."""
    if os.path.splitext(entry.name)[1].lower() not in SOUND_ENDINGS:
        return False
    try:
        return entry.is_symlink() or entry.is_file()
    except OSError:
        return True


def _size_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return 0


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
