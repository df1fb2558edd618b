"""What processes that died left in the folder of uploads, told apart from what living ones hold.

Everything here blocks.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from mosic import disk
from mosic.staging.diskfile import is_at
from mosic.staging.looking import is_locked


def idle_uploads(root: Path, grace_seconds: float) -> list[str]:
    """As `UploadArea.idle` says."""
    found = []
    for path in root.glob("*.upload"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime >= grace_seconds and not is_locked(path):
                found.append(path.stem)
    return found


def sweep(root: Path, grace_seconds: float) -> int:
    """As `UploadArea.sweep` says."""
    return sum(_remove_leftover(path, grace_seconds) for path in root.glob("*.part"))


def cut_at_marks(root: Path) -> None:
    """Earlier versions marked a piece with a checksum by a link beside its file that says where the piece
    begins: what a crash has left of it is cut off."""
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
