"""Blobs in the memory of one process: for trying things out and for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from mosic.blobs.base import BlobStat, Span, check_blob_key
from mosic.errors import BlobMissing


class MemoryBlobs:
    """Gone when the process ends, which `put`'s promise of durability cannot outlive here."""

    def __init__(self) -> None:
        self._blobs: dict[str, tuple[bytes, datetime]] = {}

    async def put(self, blob_key: str, path: Path) -> None:
        check_blob_key(blob_key)
        content = await asyncio.to_thread(path.read_bytes)
        if blob_key in self._blobs:
            raise FileExistsError(blob_key)
        self._blobs[blob_key] = (content, datetime.now(UTC))
        await asyncio.to_thread(path.unlink)

    async def copy(self, blob_key: str, other_key: str) -> None:
        check_blob_key(other_key)
        if check_blob_key(blob_key) not in self._blobs:
            raise BlobMissing
        if other_key in self._blobs:
            raise FileExistsError(other_key)
        self._blobs[other_key] = self._blobs[blob_key]

    @asynccontextmanager
    async def open(self, blob_key: str, span: Span | None = None) -> AsyncIterator[MemoryBlob]:
        found = self._blobs.get(check_blob_key(blob_key))
        if found is None:
            raise BlobMissing
        yield MemoryBlob(found[0], span or (0, len(found[0])))

    async def stat(self, blob_key: str) -> BlobStat | None:
        found = self._blobs.get(check_blob_key(blob_key))
        return BlobStat(len(found[0]), found[1]) if found else None

    async def delete(self, blob_key: str) -> bool:
        return self._blobs.pop(check_blob_key(blob_key), None) is not None

    async def keys(self) -> AsyncIterator[str]:
        for blob_key in list(self._blobs):
            yield blob_key


class MemoryBlob:
    """A span of bytes that stay alive as long as somebody reads them."""

    def __init__(self, content: bytes, span: Span) -> None:
        self._content = content
        self._at, self._stop = span
        self.size = len(content)

    async def read(self, size: int) -> bytearray:
        piece = bytearray(self._content[self._at : min(self._at + size, self._stop)])
        if not piece and self._at < self._stop:
            raise OSError("the blob is shorter than what was to be read of it")
        self._at += len(piece)
        return piece
