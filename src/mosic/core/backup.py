"""Save catalogue and blobs to a folder while the service runs.

What is saved is the catalogue as it was at one moment, and all blobs to which it refers. Copying takes long,
and a long snapshot is expensive for the database, so blobs are copied first, without one. Then a snapshot is
taken, for as long as it takes to copy the rows and what was uploaded meanwhile. A clip that is deleted just
then may be in the snapshot while its bytes are gone; then another snapshot is taken.
docs/decisions/0011-backup.md has the reasons.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import structlog
from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mosic import __version__
from mosic.archive import Archive, ArchiveError, Before, Damaged, Manifest, SavedTable
from mosic.blobs.base import BlobStore
from mosic.core import identity
from mosic.db import blobs as blob_rows
from mosic.db import dump, migrate
from mosic.db import identity as service_rows
from mosic.db.blobs import StoredBlob
from mosic.db.engine import begin
from mosic.errors import BlobMissing

_log = structlog.get_logger("mosic.backup")

_ROWS_AT_ONCE = 500
_CHUNK_BYTES = 1024 * 1024
# Each begins anew only because a clip was deleted within the moment between being listed and being copied.
_ATTEMPTS = 100


@dataclass(slots=True)
class Progress:
    """How far a backup has come: what it copied, and what was there from an earlier one."""

    copied: int = 0
    copied_bytes: int = 0
    present: set[str] = field(default_factory=set)


class _Deleted(Exception):
    """A clip in the held catalogue was deleted or got other bytes, and those that it had are gone."""


async def backup(
    engine: AsyncEngine,
    blobs: BlobStore,
    archive: Archive,
    *,
    on_progress: Callable[[Progress], None],
    force: bool = False,
) -> Manifest:
    """Make the archive a backup of this moment; what it has from earlier is not copied again.

    Until the last step the archive stays the backup that it was, and afterwards it has that one still. Clips
    whose bytes are missing or wrong are saved without them and named in the manifest. Raises `ArchiveError`
    also when the archive is another service's, and, unless `force` is given, when more than a tenth of what
    it has would go; `Unavailable`, and `OSError` for what the folder's file system says.
    """
    if not await migrate.is_current(engine):
        raise ArchiveError(
            "The database is not at the revision of this version of Mosic: back up with the version that it "
            "was last used with."
        )
    try:
        await identity.check(engine, blobs)
    except identity.ForeignStore as error:
        raise ArchiveError(f"{error} Nothing was saved.") from None
    async with begin(engine) as connection:
        service = (await service_rows.get_or_make(connection)).id
    before = await asyncio.to_thread(archive.belongs_to, service, force=force)
    copying = _Copying(engine, blobs, archive, on_progress)
    await copying.all_there_are()
    for _ in range(_ATTEMPTS):
        try:
            async with dump.snapshot(engine) as held:
                saved = await copying.all_in(held)
                manifest = await _write_catalogue(held, archive, service, saved, copying.damaged)
        except _Deleted:
            continue
        if before is not None and not force:
            kept = {row.key for row in saved} - copying.damaged.keys()
            if (loss := _too_much(before, manifest, kept)) is not None:
                await asyncio.to_thread(archive.give_up, manifest)
                raise ArchiveError(loss)
        await asyncio.to_thread(archive.finish, manifest)
        return manifest
    raise ArchiveError(
        "Clips are deleted faster than they can be copied. Try again when fewer clips are deleted."
    )


def _too_much(before: Before, manifest: Manifest, kept: set[str]) -> str | None:
    """What would go, if it is more than a tenth."""
    for kind, had, lost in (
        ("clips", before.clips, before.clips - manifest.clips),
        ("blobs", len(before.blobs), len(before.blobs - kept)),
    ):
        if 10 * lost > had:
            return (
                f"The backup would lose {lost} of its {had} {kind}, and nothing was changed. Is this the "
                "service that it should save, with its disks mounted? `mosic backup --force` if they were "
                "deleted on purpose."
            )
    return None


class _Copying:
    """Gets blobs from the store into the archive, once each."""

    def __init__(
        self, engine: AsyncEngine, blobs: BlobStore, archive: Archive, on_progress: Callable[[Progress], None]
    ) -> None:
        self._engine = engine
        self._blobs = blobs
        self._archive = archive
        self._on_progress = on_progress
        self._progress = Progress()
        self.damaged: dict[str, Damaged] = {}

    async def all_there_are(self) -> None:
        """Clips that are added meanwhile come in behind, for ids are in the order of time."""
        after: str | None = None
        while True:
            async with begin(self._engine) as connection:
                rows = await blob_rows.page(connection, limit=_ROWS_AT_ONCE, after=after)
            if not rows:
                return
            after = rows[-1].key
            for row in rows:
                try:
                    await self._copy(row)
                except _Deleted:
                    continue

    async def all_in(self, held: AsyncConnection) -> list[StoredBlob]:
        """The bytes that belong to the held catalogue, all in the archive but for the damaged ones."""
        saved: list[StoredBlob] = []
        after: str | None = None
        while rows := await blob_rows.page(held, limit=_ROWS_AT_ONCE, after=after):
            after = rows[-1].key
            for row in rows:
                await self._copy(row)
            saved += rows
        return saved

    async def _copy(self, row: StoredBlob) -> None:
        """Raises `_Deleted` when the clip was deleted before its bytes were copied."""
        if row.key in self._progress.present or row.key in self.damaged:
            return
        if await asyncio.to_thread(self._archive.size, row.key) == row.size:
            self._progress.present.add(row.key)
            return
        detail = await self._copy_bytes(row)
        if detail is None:
            self._progress.present.add(row.key)
            self._progress.copied += 1
            self._progress.copied_bytes += row.size
            self._on_progress(self._progress)
            return
        # The row of a deleted clip always goes before its bytes.
        async with begin(self._engine) as connection:
            current = await blob_rows.get(connection, row.key)
        if current is None:
            raise _Deleted
        _log.error("a clip is saved without its bytes", blob_key=row.key, reason=detail)
        self.damaged[row.key] = Damaged(clip_id=str(row.clip_id), blob_key=row.key, detail=detail)

    async def _copy_bytes(self, row: StoredBlob) -> str | None:
        """What is wrong with them, or None."""
        try:
            async with self._blobs.open(row.key) as blob:
                file = await asyncio.to_thread(self._archive.receive, row.key)
                try:
                    while True:
                        try:
                            chunk = await blob.read(_CHUNK_BYTES)
                        except OSError as error:
                            return f"cannot be read: {error.strerror or error}"
                        if not chunk:
                            break
                        await asyncio.to_thread(file.write, chunk)
                    if file.sha256 != row.sha256.hex():
                        return "its bytes are not those that were uploaded"
                    await asyncio.to_thread(file.keep)
                finally:
                    await asyncio.to_thread(file.discard)
        except BlobMissing:
            return "the store does not have it"
        return None


async def _write_catalogue(
    held: AsyncConnection,
    archive: Archive,
    service: UUID,
    rows: list[StoredBlob],
    damaged: dict[str, Damaged],
) -> Manifest:
    folder = await asyncio.to_thread(archive.new_catalogue)
    tables = [await _write_table(held, archive, folder, table) for table in dump.saved_tables()]
    saved = {row.key: row for row in rows if row.key not in damaged}
    listed = {blob_key: row.sha256 for blob_key, row in saved.items()}
    return Manifest(
        made_by=f"mosic {__version__}",
        revision=migrate.head(),
        created_at=datetime.now(UTC),
        service=service,
        tables=tuple(tables),
        blob_list=await asyncio.to_thread(archive.list_blobs, folder, listed),
        blobs=len(saved),
        bytes=sum(row.size for row in saved.values()),
        damaged=tuple(damaged[row.key] for row in rows if row.key in damaged),
    )


async def _write_table(held: AsyncConnection, archive: Archive, folder: Path, table: Table) -> SavedTable:
    file = await asyncio.to_thread(archive.new_file, folder / f"{table.name}.copy")

    async def write(chunk: bytes) -> None:
        await asyncio.to_thread(file.write, chunk)

    try:
        rows = await dump.copy_out(held, table, write)
    except BaseException:
        await asyncio.to_thread(file.discard)  # a full disk needs its room
        raise
    return SavedTable(
        table=table.name,
        columns=tuple(dump.saved_columns(table)),
        rows=rows,
        file=await asyncio.to_thread(archive.saved, file),
    )
