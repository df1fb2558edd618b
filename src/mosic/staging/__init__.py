"""Upload areas, where bytes are received before they become blobs; `base` is the contract."""

from __future__ import annotations

from mosic.staging.base import (
    LEFTOVER_SECONDS,
    Chunk,
    Incoming,
    Position,
    StagedFile,
    UploadArea,
    UploadWriter,
)
from mosic.staging.local import LocalUploadArea

__all__ = [
    "LEFTOVER_SECONDS",
    "Chunk",
    "Incoming",
    "LocalUploadArea",
    "Position",
    "StagedFile",
    "UploadArea",
    "UploadWriter",
]
