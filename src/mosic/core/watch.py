"""Looks now and then at what no event tells the metrics: the catalogue, and whether the database answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial

import structlog

from mosic.background import end
from mosic.core.runtime import Runtime
from mosic.db.totals import most_played, totals
from mosic.db.workcounts import counts
from mosic.metrics import CatalogueFigures, TopClip, WorkFigures

_log = structlog.get_logger("mosic.watch")

_TOP = 10
_LOOK_SECONDS = 5.0
_PATIENCE_SECONDS = 30.0
# A look at a catalogue so large that it takes long is taken less often: it may have this part of the time.
_SHARE = 0.01


@asynccontextmanager
async def watching(rt: Runtime) -> AsyncIterator[None]:
    """Keeps the metrics fresh until the block ends."""
    task = rt.background.start("watch", partial(_watch, rt))
    try:
        yield
    finally:
        await end(task)


async def _watch(rt: Runtime) -> None:
    due = 0.0
    while True:
        began = time.monotonic()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                if began >= due and rt.metrics.catalogue.is_read_here():
                    await look_at_catalogue(rt)
                    took = time.monotonic() - began
                    due = began + max(rt.settings.metrics_refresh_seconds, took / _SHARE)
                else:
                    async with rt.statements() as driver:
                        await driver.execute("SELECT 1")
            up = True
        except Exception as error:
            up = False
            _log.debug("the database did not respond", error=repr(error))
        rt.metrics.database.seen(up=up)
        await asyncio.sleep(min(_LOOK_SECONDS, rt.settings.metrics_refresh_seconds))


async def look_at_catalogue(rt: Runtime) -> None:
    """Tell the metrics how much there is, and what is played most; raises `Unavailable`."""
    at, private = time.time(), rt.settings.require_key_for_reads
    async with rt.begin() as connection:
        whole = await totals(connection)
        top = await most_played(connection, _TOP)
        works = await counts(connection)
    rt.metrics.catalogue.show(
        CatalogueFigures(
            at=at,
            clips=whole.clips,
            stored_bytes=whole.stored_bytes,
            plays=whole.plays,
            streamed_bytes=whole.streamed_bytes,
            # What is closed to those without a key must not be read from the metrics either.
            top=tuple(
                TopClip(str(clip_id), "" if private else title, plays) for clip_id, title, plays in top
            ),
            works=tuple(WorkFigures(**asdict(work)) for work in works),
        )
    )
