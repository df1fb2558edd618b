"""What processes that died left in the staging area, told from what living ones hold. All of it blocks."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from mosic import disk
from mosic.staging.diskfile import is_at
from mosic.staging.looking import is_locked


def idle_uploads(root: Path, grace_seconds: float) -> list[str]:
    """The names of resumable uploads that nobody holds or has written to for so long."""
    found = []
    for path in root.glob("*.upload"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime >= grace_seconds and not is_locked(path):
                found.append(path.stem)
    return found


def sweep(root: Path, grace_seconds: float) -> int:
    """Removes what uploads in one piece have left for so long; says how many files."""
    return sum(_remove_leftover(path, grace_seconds) for path in root.glob("*.part"))


def heed_marks(root: Path) -> None:
    """Earlier versions marked a piece with a checksum by a link beside its file, which says where it began:
    what a crash has left of such a piece goes."""
    for mark in root.glob("*.atomic"):
        with suppress(OSError, ValueError), disk.locked(mark.with_suffix(".upload")):
            start = int(os.readlink(mark))
            if mark.with_suffix(".upload").stat().st_size > start:
                os.truncate(mark.with_suffix(".upload"), start)
        mark.unlink(missing_ok=True)


def _remove_leftover(path: Path, grace_seconds: float) -> bool:
    with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
        if time.time() - os.fstat(file.fileno()).st_mtime >= grace_seconds:
            disk.lock(file.fileno())
            if is_at(path, file.fileno()):
                path.unlink()
                return True
    return False
