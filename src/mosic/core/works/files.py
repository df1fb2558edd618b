"""The bytes of clips, for those who read them in other processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mosic.blobs.base import FilesBelow
from mosic.core.runtime import Runtime
from mosic.db.clips import Clip
from mosic.errors import BlobMissing
from mosic.staging.base import Incoming

_PIECE = 1 << 20


@asynccontextmanager
async def file_of(rt: Runtime, clip: Clip) -> AsyncIterator[Path]:
    """The clip's bytes as a file on this machine."""
    assert clip.blob_key is not None
    if isinstance(rt.blobs, FilesBelow):
        if await rt.blobs.stat(clip.blob_key) is None:
            raise BlobMissing
        yield rt.blobs.file_of(clip.blob_key)
        return
    assert clip.size is not None
    async with (
        rt.staging.create(Incoming(limit=clip.size, declared_size=clip.size)) as copy,
        rt.blobs.open(clip.blob_key) as blob,
    ):
        while piece := await blob.read(_PIECE):
            await copy.write(piece)
        yield (await copy.finish()).path
