"""From a backup to an empty service: the bytes first, each proved by its hash, then all rows at once."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mosic.archive import Archive, ArchiveError, Manifest, SavedTable
from mosic.blobs.base import BlobStore
from mosic.core import identity
from mosic.db import blobs as blob_rows
from mosic.db import dump, migrate
from mosic.db import identity as service_rows
from mosic.db.engine import begin
from mosic.errors import BlobMissing, Unavailable
from mosic.staging import Incoming, UploadArea

_log = structlog.get_logger("mosic.restore")

_CHUNK_BYTES = 1024 * 1024
_ROWS_AT_ONCE = 500


async def restore(
    engine: AsyncEngine,
    blobs: BlobStore,
    staging: UploadArea,
    archive: Archive,
    *,
    place: str,
    on_progress: Callable[[int], None],
) -> Manifest:
    """Make the service what it was when the backup was made: the same ids, tags, plays, times and bytes.

    The rows come last, in one transaction, so a restore that fails leaves the service empty; one that is
    killed leaves at most blobs without a clip, which the next attempt takes over. The backup may be one of an
    earlier version: its rows are migrated. The service goes on as the one that was saved, so that its next
    backup may go into the same folder. `place` names the store for the operator, `on_progress` gets how
    many blobs are there.

    Raises `ArchiveError` when the service is not empty, or the backup is incomplete, damaged or too new;
    `StartupError` when the store belongs to another database; `InsufficientStorage`; `Unavailable`.
    """
    manifest = await asyncio.to_thread(archive.read)
    if strange := {table.table for table in manifest.tables} - {table.name for table in dump.saved_tables()}:
        raise ArchiveError(f"The backup has tables that are not of Mosic's catalogue: {', '.join(strange)}.")
    if not migrate.knows(manifest.revision):
        raise ArchiveError(
            f"The backup was made by a newer version ({manifest.made_by}, revision {manifest.revision})."
        )
    listed = dict(await asyncio.to_thread(lambda: list(archive.blobs(manifest))))
    # Until they have their clips, the restored blobs are orphans to a sweep.
    async with blob_rows.only_sweeper(engine) as alone:
        if not alone:
            raise ArchiveError("A sweep or another restore is running on this database. Try again later.")
        await _refuse_unless_empty(engine, blobs, listed)
        # Before the first blob: should this be killed, they are in a store that is known for this database's.
        await migrate.migrate(engine)
        await identity.settle(engine, blobs, place, known=listed)
        placing = _Placing(blobs, staging, archive)
        try:
            for done, (blob_key, sha256) in enumerate(listed.items(), 1):
                await placing.place(blob_key, sha256)
                on_progress(done)
            async with begin(engine) as connection:
                await _fill(connection, archive, manifest, listed)
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


async def _fill(
    connection: AsyncConnection, archive: Archive, manifest: Manifest, listed: dict[str, str]
) -> None:
    if await dump.clips_there(connection, lock=True):
        raise ArchiveError("Clips were added to this service during the restore; nothing was restored.")
    service = await service_rows.get_or_make(connection)
    await migrate.move_to(connection, manifest.revision)
    for table in manifest.tables:
        rows = await _fill_table(connection, archive, table)
        if rows != table.rows:
            raise ArchiveError(f"The backup is damaged: {table.table} has {rows} rows, not {table.rows}.")
    await migrate.move_to(connection, migrate.head())
    if (broken := await dump.broken_rules(connection)) is not None:
        raise ArchiveError(f"The backup is damaged: it has rows that Mosic would not write ({broken}).")
    await blob_rows.release_all(connection)
    await _compare(connection, archive, manifest, listed)
    await dump.clean_words(connection)
    await dump.let_works_wait(connection)
    await dump.forget_all_swept(connection)
    await service_rows.bring_back(connection, service, manifest.service or service.id)


async def _fill_table(connection: AsyncConnection, archive: Archive, table: SavedTable) -> int:
    """What is read is once more what was saved, should somebody be writing there."""
    digest = hashlib.sha256()
    with await asyncio.to_thread(archive.open_rows, table.file) as file:

        async def chunks() -> AsyncIterator[bytes]:
            while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
                digest.update(chunk)
                yield chunk

        try:
            rows = await dump.copy_in(connection, table.table, table.columns, chunks())
        except dump.RefusedRows as error:
            raise ArchiveError(f"The backup is damaged: {table.table}: {error}") from None
    if digest.hexdigest() != table.file.sha256:
        raise ArchiveError(f"The backup is damaged: {table.file.name} has changed since it was written.")
    return rows


async def _compare(
    connection: AsyncConnection, archive: Archive, manifest: Manifest, listed: dict[str, str]
) -> None:
    """Each clip has the bytes that it says it has, but for those that could not be saved, and no blob is
    without its clip."""
    lost = {one.blob_key for one in manifest.damaged}
    after: str | None = None
    seen = 0
    while rows := await blob_rows.page(connection, limit=_ROWS_AT_ONCE, after=after):
        after = rows[-1].key
        for row in rows:
            if row.key in lost and row.key not in listed:
                continue
            seen += 1
            size = await asyncio.to_thread(archive.size, row.key)
            if listed.get(row.key) != row.sha256.hex() or size != row.size:
                raise ArchiveError(f"The backup is damaged: clip {row.clip_id} does not match its bytes.")
    if seen != len(listed):
        raise ArchiveError("The backup is damaged: it has blobs that belong to no clip.")


class _Placing:
    """Publishes blobs out of the archive, and knows which, should it have been in vain."""

    def __init__(self, blobs: BlobStore, staging: UploadArea, archive: Archive) -> None:
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
        with await asyncio.to_thread(self._archive.open_blob, blob_key) as file:
            size = os.fstat(file.fileno()).st_size
            await self._staging.admit(size)
            async with self._staging.create(Incoming(limit=max(size, 1), declared_size=size)) as writer:
                while chunk := await asyncio.to_thread(file.read, min(_CHUNK_BYTES, size - file.tell())):
                    await writer.write(chunk)
                staged = await writer.finish()
                if staged.sha256 != sha256:
                    raise ArchiveError(f"The backup is damaged: {path} has changed since it was written.")
                self._placed.append(blob_key)
                await self._blobs.put(blob_key, staged.path)

    async def _is_there(self, blob_key: str, sha256: str) -> bool:
        """As an attempt that was killed leaves it. It is not removed if this one fails: the store may after
        all be that of another service, and the settings wrong."""
        digest = hashlib.sha256()
        try:
            async with self._blobs.open(blob_key) as blob:
                while chunk := await blob.read(_CHUNK_BYTES):
                    await asyncio.to_thread(digest.update, chunk)
        except BlobMissing:
            return False
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
