"""From what `MOSIC_STORE_URL` says to a store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mosic.blobs.base import BlobStore
from mosic.blobs.local import LocalBlobs
from mosic.blobs.memory import MemoryBlobs
from mosic.disk import Keeping
from mosic.settings.store import FolderStore, MemoryStore


@asynccontextmanager
async def open_blobs(
    store: MemoryStore | FolderStore, keeping: Keeping | None = None
) -> AsyncIterator[BlobStore]:
    """The store, ready for use until the block ends. Where it is a folder, its files are kept as `keeping`
    says.

    Raises `StartupError` when it cannot be used.
    """
    if isinstance(store, MemoryStore):
        yield MemoryBlobs()
    else:
        async with LocalBlobs(store.folder, keeping) as local:
            yield local
