"""Whether the service can do its work."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from mosic import disk
from mosic.blobs.base import ChecksWriting
from mosic.core import identity
from mosic.core.runtime import Runtime
from mosic.db.engine import is_read_only
from mosic.db.migrate import current, head
from mosic.errors import MosicError, Unavailable
from mosic.settings import Settings
from mosic.settings.limits import MEBIBYTE
from mosic.settings.store import FolderStore

_SECONDS = 5.0
_COMPARE_SECONDS = 2.0
_log = structlog.get_logger("mosic.health")


async def check_ready(rt: Runtime) -> None:
    """Raises `Unavailable` within seconds, with each part that is not fit in `failed`: `shutting-down`,
    `database`, `migrations`, `store`, `disk`, `background`. The detail says why."""
    checks = {
        "shutting-down": _check_stopping(rt),
        "database": _check_database(rt),
        "store": _check_store(rt),
        "disk": asyncio.to_thread(_check_disks, rt),
        "background": _check_background(rt),
    }
    results = await asyncio.gather(
        *(asyncio.wait_for(check, _SECONDS) for check in checks.values()), return_exceptions=True
    )
    failed = {}
    for name, result in zip(checks, results, strict=True):
        if isinstance(result, _WrongRevision):
            failed["migrations"] = str(result)
        elif isinstance(result, MosicError):
            failed[name] = result.detail
        elif isinstance(result, TimeoutError):
            failed[name] = f"It did not respond within {_SECONDS:g} s."
        elif isinstance(result, Exception):
            # Whatever else went wrong: what it says may name hosts and paths.
            failed[name] = "It cannot be used."
    if failed:
        reasons = " ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise Unavailable(f"Not ready: {reasons}", extra={"failed": list(failed)})


def written_folders(settings: Settings) -> dict[str, Path]:
    """By name, the folders whose disks must not fill up. The one for data may be missing: a service with an
    external database and given keys does not need it."""
    folders = {"media": settings.media_root, "data": settings.data_dir}
    if isinstance(settings.store_url, FolderStore):
        folders["store"] = settings.store_url.folder
    return folders


class _WrongRevision(Exception):
    """The database answers, but with a schema that this version was not written for."""


async def _check_stopping(rt: Runtime) -> None:
    if rt.stopping.is_set():
        raise Unavailable("The service is stopping.")


async def _check_database(rt: Runtime) -> None:
    async with rt.begin() as connection:
        found = await current(connection)
        read_only = await is_read_only(connection)
    if found != head():
        raise _WrongRevision(
            f"The database is at revision {found or 'none'}, this version of Mosic needs {head()}."
        )
    if read_only:
        raise Unavailable("The database is read-only.")
    if states := rt.database.hidden():
        raise Unavailable(" ".join(state.sentence for state in states))


async def _check_store(rt: Runtime) -> None:
    await rt.staging.check()
    if isinstance(rt.blobs, ChecksWriting):
        await rt.blobs.check_writable()
    try:
        async with asyncio.timeout(_COMPARE_SECONDS):
            await identity.check(rt.engine, rt.blobs)
    except identity.ForeignStore as error:
        raise Unavailable(str(error)) from None
    except (Unavailable, TimeoutError):
        # Whether the database is there, another check says.
        _log.debug("the identity of the store was not compared")


async def _check_background(rt: Runtime) -> None:
    if failing := rt.background.failing():
        raise Unavailable(f"Background loops keep failing: {', '.join(failing)}.")


def _check_disks(rt: Runtime) -> None:
    floor = rt.settings.disk_floor_mb
    for what, folder in written_folders(rt.settings).items():
        if not folder.exists():
            continue
        free = disk.free_bytes(folder)
        if free < floor * MEBIBYTE:
            raise Unavailable(
                f"The disk of the {what} folder has {free // MEBIBYTE} MiB free; {floor} are needed."
            )
