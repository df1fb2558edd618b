"""From a backup to an empty service: the bytes first, each proved by its hash, then all rows at once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mosic.archive import Archive, ArchiveError, Manifest
from mosic.blobs.base import BlobStore
from mosic.db import blob_keys, dump, migrate
from mosic.db.engine import begin
from mosic.errors import BlobMissing, Unavailable
from mosic.staging import Staging

_log = structlog.get_logger("mosic.restore")

_CHUNK_BYTES = 1024 * 1024


async def restore(
    engine: AsyncEngine,
    blobs: BlobStore,
    staging: Staging,
    archive: Archive,
    *,
    on_progress: Callable[[int], None],
) -> Manifest:
    """Make the service what it was when the backup was made: the same ids, tags, plays, times and bytes.

    The rows come last, in one transaction, so a restore that fails leaves the service empty; one that is
    killed leaves at most blobs without a clip, which the next attempt takes over. The backup may be one of an
    earlier version: its rows are migrated. `on_progress` is told how many blobs are there.

    Raises `ArchiveError` when the service is not empty, or the backup is incomplete, damaged or too new;
    `InsufficientStorage`; `Unavailable`.
    """
    manifest = await asyncio.to_thread(archive.read)
    if not migrate.knows(manifest.revision):
        raise ArchiveError(
            f"The backup was made by a newer version ({manifest.made_by}, revision {manifest.revision})."
        )
    listed = dict(await asyncio.to_thread(lambda: list(archive.blobs(manifest))))
    # Until they have their clips, the restored blobs are orphans to a sweep.
    async with blob_keys.only_sweeper(engine) as alone:
        if not alone:
            raise ArchiveError("A sweep or another restore is under way on this database: try again later.")
        await _refuse_unless_empty(engine, blobs, listed)
        placing = _Placing(blobs, staging, archive)
        try:
            for done, (blob_key, sha256) in enumerate(listed.items(), 1):
                await placing.place(blob_key, sha256)
                on_progress(done)
            async with begin(engine) as connection:
                await _fill(connection, archive, manifest)
        except BaseException:
            await placing.take_back(engine)
            raise
    return manifest


async def _refuse_unless_empty(engine: AsyncEngine, blobs: BlobStore, listed: dict[str, str]) -> None:
    async with begin(engine) as connection:
        clips = await dump.clips_there(connection)
    if clips:
        raise ArchiveError(
            f"This service has {clips} clips. A backup is restored into an empty one: with another database, "
            "or another MOSIC_DATA_DIR, and another MOSIC_MEDIA_ROOT."
        )
    async for blob_key in blobs.keys():
        if blob_key not in listed:
            raise ArchiveError(
                "The store has blobs that are not of this backup: name an empty MOSIC_MEDIA_ROOT "
                "(or MOSIC_STORE_URL)."
            )


async def _fill(connection: AsyncConnection, archive: Archive, manifest: Manifest) -> None:
    if await dump.clips_there(connection, lock=True):
        raise ArchiveError("Somebody has added clips to this service meanwhile; nothing was restored.")
    await migrate.move_to(connection, manifest.revision)
    for table in manifest.tables:
        rows = await dump.copy_in(connection, table.table, table.columns, archive.folder / table.file.name)
        if rows != table.rows:
            raise ArchiveError(f"The backup is damaged: {table.table} has {rows} rows, not {table.rows}.")
    await migrate.move_to(connection, migrate.head())
    await dump.forget_all_swept(connection)


class _Placing:
    """Publishes blobs out of the archive, and knows which, should it have been in vain."""

    def __init__(self, blobs: BlobStore, staging: Staging, archive: Archive) -> None:
        self._blobs = blobs
        self._staging = staging
        self._archive = archive
        self._placed: list[str] = []

    async def place(self, blob_key: str, sha256: str) -> None:
        """Raises `ArchiveError` when the archive does not have the bytes with this hash, or the store has
        others under this key."""
        if await self._is_there(blob_key, sha256):
            return
        path = self._archive.blob_path(blob_key)
        try:
            file = await asyncio.to_thread(path.open, "rb")
        except FileNotFoundError:
            raise ArchiveError(f"The backup is damaged: {path} is missing.") from None
        with file:
            size = path.stat().st_size
            await self._staging.admit(size)
            async with self._staging.receive(limit=max(size, 1), declared_size=size) as writer:
                while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
                    await writer.write(chunk)
                staged = await writer.finish()
                if staged.sha256 != sha256:
                    raise ArchiveError(f"The backup is damaged: {path} has changed since it was written.")
                self._placed.append(blob_key)
                await self._blobs.put(blob_key, staged.path)

    async def _is_there(self, blob_key: str, sha256: str) -> bool:
        """As an attempt that was killed leaves it. It is not removed if this one fails: the store may after
        all be that of another service, and the settings wrong."""
        try:
            blob = await self._blobs.open(blob_key)
        except BlobMissing:
            return False
        digest, position = hashlib.sha256(), 0
        try:
            while chunk := await blob.read(position, _CHUNK_BYTES):
                await asyncio.to_thread(digest.update, chunk)
                position += len(chunk)
        finally:
            blob.close()
        if digest.hexdigest() != sha256:
            raise ArchiveError(f"The store has other bytes than the backup under the key {blob_key}.")
        return True

    async def take_back(self, engine: AsyncEngine) -> None:
        """Remove the blobs, unless the rows have come to be there all the same: the connection may have
        broken while the commit was on its way."""
        try:
            async with begin(engine) as connection:
                if await dump.clips_there(connection):
                    return
            for blob_key in self._placed:
                await self._blobs.delete(blob_key)
        except (Unavailable, OSError) as error:
            _log.warning("blobs were left in the store; restore again, or sweep", error=str(error))
