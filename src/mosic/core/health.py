"""Whether the service can do its work."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mosic.core.runtime import Runtime
from mosic.db.migrate import head, revision
from mosic.errors import MosicError, Unavailable
from mosic.settings import MEBIBYTE, Settings

_SECONDS = 5.0


async def check_ready(rt: Runtime) -> None:
    """Raises `Unavailable` within seconds, with each part that is not fit in `failed`: `shutting-down`,
    `database`, `migrations`, `store`, `disk`. The detail says why."""
    checks = {
        "shutting-down": _check_stopping(rt),
        "database": _check_database(rt),
        "store": _check_store(rt),
        "disk": asyncio.to_thread(_check_disks, rt),
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
            failed[name] = f"It did not answer within {_SECONDS:g} s."
        elif isinstance(result, Exception):
            # Whatever else went wrong: what it says may name hosts and paths.
            failed[name] = "It cannot be used."
    if failed:
        reasons = " ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise Unavailable(f"Not fit: {reasons}", extra={"failed": list(failed)})


def written_folders(settings: Settings) -> dict[str, Path]:
    """By name, the folders whose disks must not fill up. The one for data may be missing: a service with an
    external database and given keys does not need it."""
    folders = {"media": settings.media_root, "data": settings.data_dir}
    if settings.store_url is not None and settings.store_url.startswith("file:"):
        folders["store"] = Path(unquote(urlsplit(settings.store_url).path))
    return folders


class _WrongRevision(Exception):
    """The database answers, but with a schema that this version was not written for."""


async def _check_stopping(rt: Runtime) -> None:
    if rt.stopping.is_set():
        raise Unavailable("The service was told to stop.")


async def _check_database(rt: Runtime) -> None:
    found = await revision(rt.engine)
    if found != head():
        raise _WrongRevision(
            f"The database is at revision {found or 'none'}, this version of Mosic needs {head()}."
        )


async def _check_store(rt: Runtime) -> None:
    await rt.staging.check()
    await rt.blobs.check()


def _check_disks(rt: Runtime) -> None:
    floor = rt.settings.disk_floor_mb
    for what, folder in written_folders(rt.settings).items():
        if not folder.exists():
            continue
        disk = os.statvfs(folder)
        free = disk.f_bavail * disk.f_frsize
        if free < floor * MEBIBYTE:
            raise Unavailable(
                f"The disk of the {what} folder has {free // MEBIBYTE} MiB left; {floor} are needed."
            )
