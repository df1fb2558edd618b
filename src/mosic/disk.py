"""Whether a disk can be written, and what it refuses, in the words that clients get."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import structlog

from mosic.errors import InsufficientStorage, MosicError, Unavailable

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_log = structlog.get_logger("mosic.disk")


def prove_writable(folder: Path) -> None:
    """Makes the folder where there is none, and writes there. Blocks; raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    # Anonymous: nothing is left behind, whenever the process ends.
    with tempfile.TemporaryFile(dir=folder):
        pass


def as_refusal(error: OSError) -> MosicError:
    """What to raise from `error`: `InsufficientStorage` where there is no room, else `Unavailable`: a folder
    that was removed or made read-only, a disk that fails. Then the log has the cause, without its path."""
    if error.errno in _NO_ROOM:
        return InsufficientStorage()
    _log.error("the store cannot be used", cause=error.strerror or type(error).__name__)
    return Unavailable("The store cannot be used at the moment.")
