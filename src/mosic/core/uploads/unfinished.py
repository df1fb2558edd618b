"""Resumable uploads (tus 1.0.0) but for their bytes: created, looked up, removed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from uuid import UUID

import structlog

from mosic.core.ingest import Hints
from mosic.core.ownids import check_own_id
from mosic.core.runtime import Runtime
from mosic.core.uploads.append import append, complete
from mosic.core.uploads.quotas import admit_upload
from mosic.core.uploads.state import UploadState, read
from mosic.db import uploads
from mosic.db.uploads import Upload
from mosic.errors import MosicError, UploadGone, UploadNotFound
from mosic.staging import Chunk
from mosic.wire import tus

_log = structlog.get_logger("mosic.uploads")


async def create(
    rt: Runtime,
    creation: tus.Creation,
    hints: Hints,
    body: AsyncIterator[Chunk],
    sender: str = "",
    *,
    key_name: str | None = None,
) -> UploadState:
    """Make an upload for the key of that name, and take the bytes that came with it.

    Raises `ExternalIdTaken`, `InsufficientStorage` when the declared length does not fit on the disk,
    `TooManyUploads` and `TooMuchPromised` when there are too many unfinished ones, and what `append` raises;
    then nothing of the upload stays, since its sender does not learn where it is.
    """
    await check_own_id(rt, hints.external_id, sha256=creation.sha256, size=creation.length)
    if creation.length is not None:
        await rt.staging.admit(creation.length)
    free = await rt.staging.free_bytes()
    upload_id = rt.clock.uuid7()
    async with rt.begin() as connection:
        found = await uploads.unfinished(connection, key_name)
        admit_upload(rt, found, creation.length, free=free)
        upload = await uploads.insert(
            connection,
            upload_id,
            length=creation.length,
            raw_metadata=creation.metadata.raw,
            hints={name: value for name, value in asdict(hints).items() if value is not None},
            sha256=creation.sha256,
            key_name=key_name,
            expiry_seconds=rt.settings.upload_expiry_seconds,
        )
    if not creation.with_upload and creation.length != 0:
        return UploadState.of(upload, 0)
    first = tus.Append(offset=0, length=None, body_size=creation.body_size, checksum=creation.checksum)
    try:
        return await append(rt, upload_id, first, body, sender)
    except BaseException:
        await asyncio.shield(asyncio.ensure_future(_take_back(rt, upload_id)))
        raise


async def _take_back(rt: Runtime, upload_id: UUID) -> None:
    try:
        await remove(rt, upload_id)
    except MosicError as error:
        _log.warning("upload left to expire", upload_id=str(upload_id), error=str(error))


async def look_up(rt: Runtime, upload_id: UUID) -> UploadState:
    """The state of the upload; an `append` can continue at its offset.

    One that has all its bytes and no outcome yet is completed first. Raises like `append`.
    """
    upload, offset = await read(rt, upload_id)
    # A writer whose connection may be gone notices that and brings what it has to the disk.
    if upload.clip_id is None and await _wait_for_writers(rt, upload, rt.settings.timings.writer_end):
        upload, offset = await read(rt, upload_id)
    if upload.clip_id is None and offset == upload.length:
        return await complete(rt, upload_id, offset)
    return UploadState.of(upload, offset)


async def remove(rt: Runtime, upload_id: UUID) -> None:
    """End the upload: a request that writes to it is stopped, its bytes go. The clip of a finished one stays.

    Raises `UploadNotFound` and `UploadGone`.
    """
    while True:
        async with rt.begin() as connection:
            upload = await uploads.get(connection, upload_id)
        if upload is None:
            raise UploadNotFound
        if upload.expired:
            raise UploadGone("This upload has expired.")
        if upload.clip_id is None and await rt.staging.size(str(upload.file_id)) == upload.length:
            # Its clip may be in the making, which must not be interrupted.
            await _wait_for_writers(rt, upload, rt.settings.probe_timeout_seconds)
        async with rt.begin() as connection:
            if await uploads.delete(connection, upload_id, held=upload.writer):
                break
    await rt.staging.interrupt(str(upload.file_id))
    await rt.staging.discard(str(upload.file_id))


async def _wait_for_writers(rt: Runtime, upload: Upload, seconds: float) -> bool:
    """Wait until nobody writes to the upload, or is about to, but not for longer than this; returns whether
    there was anybody."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    waited = False
    while loop.time() < until:
        # Of another process only this can be seen.
        held = await rt.staging.is_held(str(upload.file_id))
        if not held and not rt.watchdog.expects(upload.id):
            break
        waited = True
        await asyncio.sleep(rt.settings.timings.upload_poll)
    return waited
