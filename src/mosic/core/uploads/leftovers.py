"""Resumable uploads that nobody comes back to: the expired go, the whole that lost their process end."""

from __future__ import annotations

from uuid import UUID

import structlog

from mosic.core.runtime import Runtime
from mosic.core.uploads.append import complete
from mosic.db import uploads
from mosic.db.uploads import Upload
from mosic.staging import LEFTOVER_SECONDS

_log = structlog.get_logger("mosic.uploads")

ROWS_AT_ONCE = 500
"""So many rows are in memory at a time, however many there are."""


async def remove_expired(rt: Runtime, *, grace_seconds: float = LEFTOVER_SECONDS) -> int:
    """Remove every upload that has expired, and what was received for none and has been left alone for the
    grace period; returns how many have expired."""
    idle = await rt.staging.idle(grace_seconds)
    removed = 0
    while True:
        async with rt.begin() as connection:
            expired = await uploads.delete_expired(connection, limit=ROWS_AT_ONCE)
        for file_id in expired:
            await _discard(rt, str(file_id))
        removed += len(expired)
        if len(expired) < ROWS_AT_ONCE:
            break
    for start in range(0, len(idle), ROWS_AT_ONCE):
        names = idle[start : start + ROWS_AT_ONCE]
        async with rt.begin() as connection:
            live = await uploads.unsettled_files(connection, [UUID(name) for name in names if _is_id(name)])
        for name in set(names) - {str(file_id) for file_id in live}:
            await _discard(rt, name)
    return removed


async def _discard(rt: Runtime, name: str) -> None:
    await rt.staging.interrupt(name)
    await rt.staging.discard(name)


def _is_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


async def finish_whole(rt: Runtime) -> int:
    """Make the clips of uploads that got their last byte from a process that then died; returns how many.

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
    offset = await rt.staging.size(name)
    if offset != upload.length or upload.expired or await rt.staging.is_held(name):
        return False
    try:
        await complete(rt, upload.id, offset)
    except Exception as error:
        _log.warning("upload not finished", upload_id=name, error=str(error))
        return False
    return True
