"""Remove what crashes and clients left behind, and prove that every clip still has its bytes.

Three kinds are swept: resumable uploads that expired, staged files that no living process holds, and orphans:
blobs to which nothing in the catalogue refers. docs/decisions/0006-sweep.md says why no clip ever loses its
bytes to a sweep.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal
from uuid import UUID

import structlog

from mosic.background import end
from mosic.blobs.base import LeavesUnfinished, OpenBlob
from mosic.core import identity, trash
from mosic.core.played import forget_old_days
from mosic.core.runtime import Runtime
from mosic.core.uploads.leftovers import finish_whole, remove_expired
from mosic.db import blobs as blob_rows
from mosic.db.blobs import StoredBlob
from mosic.errors import BlobMissing, Unavailable

_log = structlog.get_logger("mosic.sweep")

_ROWS_AT_ONCE = 500
_MARKED_AT_ONCE = 100
_CHUNK_BYTES = 1024 * 1024
# So few orphans are swept even where they are more than the clips.
_FEW = 20
# Between a clip's end and that of its blob pass milliseconds: what is an orphan for longer is one.
_SETTLE_SECONDS = 1.0
# The first sweep comes soon after the start, for a service that never runs for a whole interval.
_FIRST = 0.1


class SweepRefused(Exception):
    """Store and database do not belong together, or there are more orphans than clips."""


@dataclass(frozen=True, slots=True)
class Swept:
    """How much was removed."""

    uploads: int = 0
    staged: int = 0
    blobs: int = 0
    trashed: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """A clip or a blob that is not as it should be. `clip_id` is None for an orphan, which has no clip."""

    kind: Literal["missing", "corrupt", "orphaned"]
    blob_key: str
    clip_id: UUID | None
    detail: str


@asynccontextmanager
async def sweeping(rt: Runtime) -> AsyncIterator[None]:
    """Sweeps now and then until the block ends; not at all when the setting is 0."""
    task = rt.background.start("sweep", partial(_sweep_now_and_then, rt))
    try:
        yield
    finally:
        await end(task)


async def _sweep_now_and_then(rt: Runtime) -> None:
    interval, factor = rt.settings.sweep_seconds, _FIRST
    while interval:
        # Those that started together drift apart, so that each machine gets a turn at its own staging area.
        await asyncio.sleep(interval * factor * random.uniform(0.8, 1.2))  # noqa: S311
        # The workers of a machine take turns.
        factor = float(rt.settings.workers)
        try:
            await sweep(rt, grace_seconds=rt.settings.sweep_grace_seconds)
        except SweepRefused as refused:
            _log.error("sweep refused", reason=str(refused))
        except Unavailable as error:
            _log.warning("sweep postponed", reason=error.detail)


async def sweep(
    rt: Runtime, *, grace_seconds: float, force: bool = False, empty_trash: bool = False
) -> Swept | None:
    """Remove what is expired or orphaned and was left alone for the grace period; None when somebody else on
    this database is sweeping. Uploads that are whole but lost their process become clips first.

    With a grace of 0 an upload that is about to become a clip may be answered 503, but nothing is lost.
    Raises `SweepRefused` when the store is not the database's own (any more), and when the orphans outnumber
    the clips, unless `force` is given; `Unavailable` when the database cannot be reached.
    """
    async with blob_rows.only_sweeper(rt.direct, rt.database) as alone:
        if not alone:
            return None
        try:
            await identity.check(rt.engine, rt.blobs)
        except identity.ForeignStore as error:
            raise SweepRefused(f"{error} Nothing was removed.") from None
        await finish_whole(rt)
        trashed = await trash.empty(rt, days=0 if empty_trash else rt.settings.trash_days)
        rt.metrics.sweeps.removed("trash", trashed)
        uploads = await remove_expired(rt, grace_seconds=grace_seconds)
        rt.metrics.sweeps.removed("upload", uploads)
        staged = await rt.staging.sweep(grace_seconds)
        if isinstance(rt.blobs, LeavesUnfinished):
            staged += await rt.blobs.remove_unfinished(grace_seconds)
        rt.metrics.sweeps.removed("staged", staged)
        orphans = await _find_orphans(rt, grace_seconds, force=force)
        blobs = 0
        for batch in _in_batches(orphans, _MARKED_AT_ONCE):
            blobs += await _remove_orphans(rt, batch)
        async with rt.begin() as connection:
            await blob_rows.release_all(connection)
            await blob_rows.drop_old_marks(connection)
        days = await forget_old_days(rt)
        rt.metrics.sweeps.ended()
    _log.info("swept", trashed=trashed, uploads=uploads, staged=staged, blobs=blobs, days=days)
    return Swept(uploads, staged, blobs, trashed)


async def _find_orphans(rt: Runtime, grace_seconds: float, *, force: bool) -> list[str]:
    async with rt.begin() as connection:
        allowed = max(_FEW, await blob_rows.count(connection))
    found: list[str] = []
    async with aclosing(_orphans(rt, grace_seconds)) as orphans:
        async for blob_key in orphans:
            found.append(blob_key)
            if len(found) > allowed and not force:
                raise SweepRefused(
                    "The store holds more blobs without a clip than there are clips. Is this the database "
                    "that belongs to it? No blob was removed; `mosic sweep --force` removes them."
                )
    return found


async def _remove_orphans(rt: Runtime, orphans: Sequence[str]) -> int:
    """Remove those to which still nothing refers. Once they are marked, no lock is needed any more."""
    async with rt.begin() as connection:
        marked = await blob_rows.mark_swept(connection, orphans)
    removed = 0
    for blob_key in marked:
        try:
            removed += await rt.blobs.delete(blob_key)
        except OSError as error:
            _log.warning("blob left to the next sweep", blob_key=blob_key, error=str(error))
    rt.metrics.sweeps.removed("blob", removed)
    return removed


async def _orphans(rt: Runtime, grace_seconds: float) -> AsyncGenerator[str]:
    """Blobs that nothing refers to at the moment and that are older than the grace period."""
    batch: list[str] = []
    async for blob_key in rt.blobs.keys():
        batch.append(blob_key)
        if len(batch) == _ROWS_AT_ONCE:
            for orphan in await _without_reference(rt, batch, grace_seconds):
                yield orphan
            batch.clear()
    for orphan in await _without_reference(rt, batch, grace_seconds):
        yield orphan


async def _without_reference(rt: Runtime, keys: Sequence[str], grace_seconds: float) -> list[str]:
    async with rt.begin() as connection:
        found = await blob_rows.without_reference(connection, keys)
    return [blob_key for blob_key in found if await _age(rt, blob_key) >= grace_seconds]


async def _age(rt: Runtime, blob_key: str) -> float:
    """Seconds since the blob was published; less than 0 when that cannot be known.

    A key is the hex form of a UUIDv7 (RFC 9562 §5.7) that is made when publishing begins. What a store says
    of a blob is the time of its last byte instead, which may have come long before.
    """
    if blob_key[12] == "7":
        return rt.clock.time() - int(blob_key[:12], 16) / 1000
    stat = await rt.blobs.stat(blob_key)
    return time.time() - stat.modified_at.timestamp() if stat else -1


async def audit(
    rt: Runtime, *, grace_seconds: float, on_progress: Callable[[int, int], None]
) -> AsyncGenerator[Finding]:
    """Read the bytes of every clip and compare them with what the catalogue says; then look for orphans.

    What is in the trash is not read, and is no orphan. May run beside a service: what is deleted or added
    meanwhile is no finding. `on_progress` gets after each clip how many were read so far, and how many
    bytes they had.
    """
    clips = size = 0
    after: str | None = None
    while True:
        async with rt.begin() as connection:
            rows = await blob_rows.page(connection, limit=_ROWS_AT_ONCE, after=after, trashed=False)
        if not rows:
            break
        after = rows[-1].key
        for row in rows:
            finding = await _examine(rt, row)
            if finding is not None and await _still_there(rt, row):
                yield finding
            clips, size = clips + 1, size + row.size
            on_progress(clips, size)
    for blob_key in await _settled_orphans(rt, grace_seconds):
        yield Finding("orphaned", blob_key, None, "it belongs to no clip")


async def _examine(rt: Runtime, row: StoredBlob) -> Finding | None:
    try:
        async with rt.blobs.open(row.key) as blob:
            if blob.size != row.size:
                detail = f"has {blob.size} bytes instead of {row.size}"
            elif await _sha256(blob) != row.sha256:
                detail = "its bytes are not those that were uploaded"
            else:
                return None
    except BlobMissing:
        return Finding("missing", row.key, row.clip_id, "the store does not have it")
    except OSError as error:
        detail = f"cannot be read: {error.strerror or error}"
    return Finding("corrupt", row.key, row.clip_id, detail)


async def _sha256(blob: OpenBlob) -> bytes:
    digest = hashlib.sha256()
    while chunk := await blob.read(_CHUNK_BYTES):
        await asyncio.to_thread(digest.update, chunk)
    return digest.digest()


async def _still_there(rt: Runtime, row: StoredBlob) -> bool:
    """Whether the clip was not deleted: its row always goes before its bytes."""
    async with rt.begin() as connection:
        return await blob_rows.get(connection, row.key) is not None


async def _settled_orphans(rt: Runtime, grace_seconds: float) -> list[str]:
    found = [blob_key async for blob_key in _orphans(rt, grace_seconds)]
    if found:
        await asyncio.sleep(_SETTLE_SECONDS)
    settled: list[str] = []
    for batch in _in_batches(found, _ROWS_AT_ONCE):
        for blob_key in await _without_reference(rt, batch, grace_seconds):
            if await rt.blobs.stat(blob_key) is not None:
                settled.append(blob_key)
    return settled


def _in_batches(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]
