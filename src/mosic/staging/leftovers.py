"""What processes that died left in the staging area, told from what living ones hold. All of it blocks."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock
from pathlib import Path

from mosic.staging.diskfile import is_at


def is_locked(path: Path) -> bool:
    """Whether a living process holds the file."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        try:
            flock(file, LOCK_SH | LOCK_NB)
        except BlockingIOError:
            return True
        flock(file, LOCK_UN)
    return False


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
    for mark in root.glob("*.atomic"):
        # Made after its file and removed after it, so without one it belongs to nobody.
        if not mark.with_suffix(".upload").exists():
            mark.unlink(missing_ok=True)
    return sum(_remove_leftover(path, grace_seconds) for path in root.glob("*.part"))


def _remove_leftover(path: Path, grace_seconds: float) -> bool:
    with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
        if time.time() - os.fstat(file.fileno()).st_mtime >= grace_seconds:
            flock(file, LOCK_EX | LOCK_NB)
            if is_at(path, file.fileno()):
                path.unlink()
                return True
    return False
