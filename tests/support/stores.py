"""What stands in a store: blobs of any age, with a clip or without, and stores that stop or fail."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import sqlalchemy as sa
import uuid_utils.compat
from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.blobs.base import BlobStore, OpenBlob
from mosic.core.ingest import Hints, ingest
from mosic.core.runtime import Runtime
from mosic.db import blobs as blob_rows
from mosic.db.clips import Clip
from mosic.staging import Incoming

Open = Callable[..., AbstractAsyncContextManager[Runtime]]
HOUR = 3600


def key_of(age_seconds: float) -> str:
    """A blob key made so long ago: the first 48 bits of a UUIDv7 are milliseconds (RFC 9562 §5.7)."""
    milliseconds = round((time.time() - age_seconds) * 1000)
    return f"{milliseconds:012x}{uuid_utils.compat.uuid7().hex[12:]}"


async def put(rt: Runtime, blob_key: str, content: bytes = b"orphan") -> str:
    path = rt.settings.media_root / ".staging" / f"made-{blob_key}"
    path.write_bytes(content)
    await rt.blobs.put(blob_key, path)
    return blob_key


async def upload(rt: Runtime, content: bytes) -> Clip:
    async with rt.staging.create(Incoming(limit=10**9)) as writer:
        await writer.write(content)
        clip, _ = await ingest(rt, await writer.finish(), Hints())
        return clip


async def keys_in(blobs: BlobStore) -> set[str]:
    return {blob_key async for blob_key in blobs.keys()}  # noqa: SIM118 – a store is no dict


async def insert_clips(connection: AsyncConnection, *keys: str, days_ago: int = 0) -> None:
    """A clip for each key, made so long ago, whose bytes may or may not be there."""
    statement = """
        WITH made AS (
            INSERT INTO blobs (key, sha256, size, media_type, created_at)
            SELECT key, sha256(key::bytea), 6, 'audio/mpeg', now() - make_interval(days => :days_ago)
            FROM unnest(cast(:keys AS text[])) AS key RETURNING key, created_at
        )
        INSERT INTO clips (id, title, blob_key, created_at)
        SELECT gen_random_uuid(), 't', key, created_at FROM made
    """
    await connection.execute(sa.text(statement), {"keys": list(keys), "days_ago": days_ago})


async def known_keys(rt: Runtime) -> set[str]:
    async with rt.begin() as connection:
        return {row.key for row in await blob_rows.page(connection, limit=1000, after=None)}


async def swept_keys(rt: Runtime) -> set[str]:
    """Those that can never get a clip any more."""
    async with rt.begin() as connection:
        return set((await connection.scalars(sa.text("SELECT blob_key FROM swept_blobs"))).all())


async def read_blob(blobs: BlobStore, blob_key: str) -> bytes:
    """All its bytes."""
    content = bytearray()
    async with blobs.open(blob_key) as blob:
        while piece := await blob.read(2**20):
            content += piece
    return bytes(content)


class PausedBlobs:
    """A store that stops in one of its methods, after or before what it does, as a process may be stopped."""

    def __init__(self, blobs: BlobStore, method: str, *, after: bool) -> None:
        self._blobs, self._method, self._after = blobs, method, after
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._blobs, name)
        if name != self._method:
            return inner
        if name == "open":
            return self._opening

        async def paused(*arguments: Any) -> Any:
            done = await inner(*arguments) if self._after else None
            self.reached.set()
            await self.go_on.wait()
            return done if self._after else await inner(*arguments)

        return paused

    @asynccontextmanager
    async def _opening(self, *arguments: Any) -> AsyncIterator[OpenBlob]:
        if not self._after:
            self.reached.set()
            await self.go_on.wait()
        async with self._blobs.open(*arguments) as blob:
            if self._after:
                self.reached.set()
                await self.go_on.wait()
            yield blob


class FailingOnce:
    """A store, or an open blob, whose medium fails once."""

    def __init__(self, inner: BlobStore | OpenBlob, method: str) -> None:
        self._inner, self._method = inner, method
        self.failed = False

    def __getattr__(self, name: str) -> Any:
        if name == self._method and not self.failed:
            self.failed = True
            raise OSError("the medium fails")
        return getattr(self._inner, name)


def paused(rt: Runtime, method: str, *, after: bool = False) -> tuple[Runtime, PausedBlobs]:
    blobs: Any = PausedBlobs(rt.blobs, method, after=after)
    return dataclasses.replace(rt, blobs=blobs), blobs
