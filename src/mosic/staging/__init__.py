"""Bytes on their way in: one pass of writing and hashing, into files next to where they will be published."""

from __future__ import annotations

from mosic.staging.diskfile import StagedFile
from mosic.staging.local import LEFTOVER_SECONDS, Staging
from mosic.staging.writer import Chunk, StagedWriter

__all__ = ["LEFTOVER_SECONDS", "Chunk", "StagedFile", "StagedWriter", "Staging"]
