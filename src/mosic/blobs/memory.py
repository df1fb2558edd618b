"""Blobs in the memory of one process: for trying things out and for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from mosic.blobs.base import BlobStat, check_blob_key
from mosic.errors import BlobMissing


class MemoryBlobs:
    """Gone when the process ends, which `put`'s promise of durability cannot outlive here."""

    lasting: ClassVar[bool] = False

    def __init__(self) -> None:
        self._identity: bytes | None = None
        self._blobs: dict[str, tuple[bytes, datetime]] = {}

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    async def check(self) -> None:
        return

    async def put(self, blob_key: str, path: Path) -> None:
        check_blob_key(blob_key)
        content = await asyncio.to_thread(path.read_bytes)
        if blob_key in self._blobs:
            raise FileExistsError(blob_key)
        self._blobs[blob_key] = (content, datetime.now(UTC))
        await asyncio.to_thread(path.unlink)

    async def duplicate(self, blob_key: str, other_key: str) -> None:
        check_blob_key(other_key)
        if check_blob_key(blob_key) not in self._blobs:
            raise BlobMissing
        if other_key in self._blobs:
            raise FileExistsError(other_key)
        self._blobs[other_key] = self._blobs[blob_key]

    async def stat(self, blob_key: str) -> BlobStat | None:
        found = self._blobs.get(check_blob_key(blob_key))
        return BlobStat(len(found[0]), found[1]) if found else None

    def open_now(self, blob_key: str) -> MemoryBlob | None:
        found = self._blobs.get(check_blob_key(blob_key))
        return MemoryBlob(found[0]) if found is not None else None

    async def open(self, blob_key: str) -> MemoryBlob:
        blob = self.open_now(blob_key)
        if blob is None:
            raise BlobMissing
        return blob

    def forget(self, blob_key: str) -> None:
        return

    def forget_all(self) -> None:
        return

    async def delete(self, blob_key: str) -> bool:
        return self._blobs.pop(check_blob_key(blob_key), None) is not None

    async def keys(self) -> AsyncIterator[str]:
        for blob_key in list(self._blobs):
            yield blob_key

    async def identity(self) -> bytes | None:
        return self._identity

    async def identify(self, content: bytes, *, replace: bool = False) -> bool:
        if self._identity is not None and not replace:
            return False
        self._identity = content
        return True


class MemoryBlob:
    """A view of bytes that stay alive as long as somebody reads them."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)

    def read_now(self, start: int, size: int) -> bytearray | None:
        return bytearray(self._content[start : start + size]) or None

    async def read(self, start: int, size: int) -> bytes:
        return self._content[start : start + size]

    def close(self) -> None:
        return
