"""Resumable uploads (tus 1.0.0) but for their bytes: create, look, end, and what time does to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from uuid import UUID

import structlog

from mosic.core.ingest import Hints
from mosic.core.runtime import Runtime
from mosic.core.uploads.append import UploadState, append, finish
from mosic.core.uploads.claim import POLL_SECONDS, read
from mosic.core.uploads.promises import admit_upload, room_for_promises
from mosic.db import uploads
from mosic.db.uploads import Upload
from mosic.errors import MosicError, UploadGone, UploadNotFound
from mosic.staging import LEFTOVER_SECONDS, Chunk
from mosic.wire import tus

_log = structlog.get_logger("mosic.uploads")

# So many rows are in memory at a time, however many there are.
ROWS_AT_ONCE = 500
# What a look waits for a writer whose connection may be gone, so that it notices and brings all to the disk.
# Longer than the tick of `Fence`.
_LOOK_SECONDS = 0.3


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

    Raises `InsufficientStorage` when the declared length does not fit on the disk, `TooManyUploads` and
    `TooMuchPromised` when there are too many unfinished ones, and what `append` raises; then nothing of the
    upload stays, since its sender does not learn where it is.
    """
    if creation.length is not None:
        await rt.staging.admit(creation.length)
    room = await room_for_promises(rt)
    upload_id = rt.clock.uuid7()
    async with rt.begin() as connection:
        found = await uploads.unfinished(connection, key_name)
        admit_upload(rt, found, creation.length, room=room)
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
        await asyncio.shield(asyncio.ensure_future(_forget(rt, upload_id)))
        raise


async def look_up(rt: Runtime, upload_id: UUID) -> UploadState:
    """Where the upload stands, such that an `append` can go on from there.

    One that has all its bytes and no outcome yet is finished first. Raises like `append`.
    """
    upload, offset = await read(rt, upload_id)
    if upload.clip_id is None and await _wait_until_let_go(rt, upload, _LOOK_SECONDS):
        upload, offset = await read(rt, upload_id)
    if upload.clip_id is None and offset == upload.length:
        return await finish(rt, upload_id, offset)
    return UploadState.of(upload, offset)


async def remove(rt: Runtime, upload_id: UUID) -> None:
    """End the upload: who writes to it is interrupted, its bytes go. The clip of a finished one stays.

    Raises `UploadNotFound` and `UploadGone`.
    """
    while True:
        async with rt.begin() as connection:
            upload = await uploads.get(connection, upload_id)
        if upload is None:
            raise UploadNotFound
        if upload.expired:
            raise UploadGone("This upload has expired.")
        if upload.clip_id is None and await rt.staging.upload_size(str(upload.file_id)) == upload.length:
            # Its clip may be in the making, which is not to be torn.
            await _wait_until_let_go(rt, upload, rt.settings.probe_timeout_seconds)
        async with rt.begin() as connection:
            if await uploads.delete(connection, upload_id, held=upload.writer):
                break
    await rt.staging.remove_upload(str(upload.file_id))


async def remove_expired(rt: Runtime, *, grace_seconds: float = LEFTOVER_SECONDS) -> int:
    """Remove every upload that has expired, and staged files that belong to none and have been left alone for
    the grace period; says how many expired."""
    idle = await rt.staging.idle_uploads(grace_seconds)
    removed = 0
    while True:
        async with rt.begin() as connection:
            expired = await uploads.delete_expired(connection, limit=ROWS_AT_ONCE)
        for file_id in expired:
            await rt.staging.remove_upload(str(file_id))
        removed += len(expired)
        if len(expired) < ROWS_AT_ONCE:
            break
    for start in range(0, len(idle), ROWS_AT_ONCE):
        names = idle[start : start + ROWS_AT_ONCE]
        async with rt.begin() as connection:
            live = await uploads.unsettled_files(connection, [UUID(name) for name in names if _is_id(name)])
        for name in set(names) - {str(file_id) for file_id in live}:
            await rt.staging.remove_upload(name)
    return removed


def _is_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


async def finish_whole(rt: Runtime) -> int:
    """Make the clips of uploads that got their last byte from a process that then died; says how many.

    For clients that do not come back to ask. One that fails is logged, and tried again the next time.
    """
    finished = 0
    after: UUID | None = None
    while True:
        async with rt.begin() as connection:
            found = await uploads.unsettled(connection, limit=ROWS_AT_ONCE, after=after)
        for upload in found:
            finished += await _finish_whole(rt, upload)
        if len(found) < ROWS_AT_ONCE:
            return finished
        after = found[-1].id


async def _finish_whole(rt: Runtime, upload: Upload) -> bool:
    name = str(upload.file_id)
    offset = await rt.staging.upload_size(name)
    if offset != upload.length or upload.expired or await rt.staging.is_held(name):
        return False
    try:
        await finish(rt, upload.id, offset)
    except Exception as error:
        _log.warning("upload not finished", upload_id=name, error=str(error))
        return False
    return True


async def _wait_until_let_go(rt: Runtime, upload: Upload, seconds: float) -> bool:
    """Wait for whoever writes to the upload, or is about to, but not for longer than this; says whether
    there was anybody."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    waited = False
    while loop.time() < until:
        # Of another process there is nothing to see but the lock.
        held = await rt.staging.is_held(str(upload.file_id))
        if not held and not rt.fence.expects(upload.id):
            break
        waited = True
        await asyncio.sleep(POLL_SECONDS)
    return waited


async def _forget(rt: Runtime, upload_id: UUID) -> None:
    try:
        await remove(rt, upload_id)
    except MosicError as error:
        _log.warning("upload left to expire", upload_id=str(upload_id), error=str(error))
