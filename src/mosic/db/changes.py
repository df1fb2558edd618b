"""Hears of every clip that any process edits or removes, and of new works, by LISTEN/NOTIFY."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from mosic.background import Background, end
from mosic.db.clips import CHANGED_CHANNEL
from mosic.db.faults import said
from mosic.db.works import WORKS_CHANNEL

_log = structlog.get_logger("mosic.changes")

_FIRST_PAUSE_SECONDS = 0.1
_PAUSE_SECONDS = 5.0
_ANSWER_SECONDS = 5.0
# A connection that broke without a sign (a firewall, a machine that went down) is found out after so long.
_PROOF_SECONDS = 15.0


class Audience(Protocol):
    """Who is notified. Nothing here may wait."""

    def trust(self) -> None:
        """From now on every change is notified; earlier ones may have been missed."""

    def distrust(self) -> None:
        """From now on changes may be missed."""

    def drop(self, clip_id: UUID) -> None:
        """The clip was edited or removed, and that is committed."""


class Changes:
    """Listens over a connection of its own, and connects again whenever it is lost."""

    def __init__(
        self,
        engine: AsyncEngine,
        audience: Audience,
        background: Background,
        *,
        on_works: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_works` is called when there may be works to take. It may not wait either."""
        self._background = background
        self._on_works = on_works
        self._engine = engine
        self._audience = audience
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()

    async def start(self) -> None:
        """Begin to listen; returns when the first attempt has succeeded or failed."""
        self._task = self._background.start("changes", self._run)
        await self._tried.wait()

    async def close(self) -> None:
        if self._task is not None:
            await end(self._task)
            self._task = None

    async def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        failing = False
        while True:
            try:
                async with self._connected() as (driver, lost):
                    self._audience.trust()
                    self._on_works()
                    if failing:
                        _log.info("notified of changes again")
                        failing = False
                    try:
                        self._tried.set()
                        pause = _FIRST_PAUSE_SECONDS
                        await _until_lost(driver, lost)
                    finally:
                        self._audience.distrust()
                _log.warning("no longer notified of changes: the connection was lost")
            except Exception as error:
                if not failing:
                    _log.warning("not notified of changes", error=said(error))
                failing = True
            self._tried.set()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSE_SECONDS)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[Any, asyncio.Event]]:
        """A connection that has been seen to deliver notifications, and an event for its loss."""
        lost = asyncio.Event()
        heard = asyncio.Event()
        proof = secrets.token_hex(8)

        def hear(_: Any, __: int, ___: str, payload: str) -> None:
            if payload == proof:
                heard.set()
            elif len(payload) == 32:  # a proof of somebody else is shorter
                self._audience.drop(UUID(payload))

        async with asyncio.timeout(2 * _ANSWER_SECONDS):
            connection = await self._engine.connect()
        try:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            driver.add_termination_listener(lambda _: lost.set())
            async with asyncio.timeout(_ANSWER_SECONDS):
                await driver.add_listener(WORKS_CHANNEL, lambda *_: self._on_works())
                await driver.add_listener(CHANGED_CHANNEL, hear)
                # A proxy that shares sessions between clients (PgBouncer's transaction mode) takes the LISTEN
                # and passes nothing on.
                await driver.execute("SELECT pg_notify($1, $2)", CHANGED_CHANNEL, proof)
                await heard.wait()
            yield driver, lost
        finally:
            await connection.invalidate()
            await connection.close()


async def _until_lost(driver: Any, lost: asyncio.Event) -> None:
    while True:
        try:
            async with asyncio.timeout(_PROOF_SECONDS):
                await lost.wait()
            return
        except TimeoutError:
            await driver.execute("SELECT 1", timeout=_ANSWER_SECONDS)
