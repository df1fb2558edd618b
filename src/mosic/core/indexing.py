"""Clips of earlier versions, and those that a backup brought, become findable while the service runs."""

from __future__ import annotations

import asyncio

import structlog

from mosic.core.runtime import Runtime
from mosic.db.indexing import index_older
from mosic.errors import Unavailable

_log = structlog.get_logger("mosic.indexing")

_AT_ONCE = 200
_PAUSE_SECONDS = 1.0


async def index_all(rt: Runtime) -> None:
    """Returns when none is left. Until then searches do not find those that are left, and lists by name have
    them at the end."""
    done = 0
    while True:
        try:
            async with rt.begin() as connection:
                found = await index_older(connection, _AT_ONCE)
        except Unavailable:
            await asyncio.sleep(_PAUSE_SECONDS)
            continue
        if not found:
            break
        done += found
        # Requests come first.
        await asyncio.sleep(0)
    if done:
        _log.info("clips of an earlier version can be searched now", clips=done)
