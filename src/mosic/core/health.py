"""Whether the service can do its work."""

from __future__ import annotations

import asyncio

from mosic.core.runtime import Runtime
from mosic.db.migrate import is_current
from mosic.errors import Unavailable

_SECONDS = 5.0


async def check_ready(rt: Runtime) -> None:
    """Raises `Unavailable` naming in `failed` each part that is not fit, within seconds."""
    checks = {"database": _check_database(rt), "store": rt.blobs.check()}
    results = await asyncio.gather(
        *(asyncio.wait_for(check, _SECONDS) for check in checks.values()), return_exceptions=True
    )
    failed = [name for name, result in zip(checks, results, strict=True) if isinstance(result, Exception)]
    if failed:
        raise Unavailable(f"Not fit: {', '.join(failed)}.", extra={"failed": failed})


async def _check_database(rt: Runtime) -> None:
    if not await is_current(rt.engine):
        raise Unavailable("The database is not at the revision that this version needs.")
