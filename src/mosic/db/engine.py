"""The connection pool, and the one way to a transaction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy import URL, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

from mosic.db.clock import DatabaseClock
from mosic.db.connecting import CLOSE_SECONDS, Connection, Connector
from mosic.db.faults import DRIVER_ERRORS, UNREACHABLE, fault_of
from mosic.db.state import UNOBSERVED, Observer
from mosic.errors import Unavailable

_POOL_WAIT_SECONDS = 5
# To have a connection at all: its turn at the pool, the proof that it lives, or a new one.
_ACQUIRE_SECONDS = 8.0
_PING_SECONDS = 2.0
# A connection that was used a moment ago is not asked whether it still lives: that is a round trip.
_TRUSTED_SECONDS = 1.0


def create_engine(url: URL, *, pool_size: int) -> AsyncEngine:
    """An engine whose pool never opens more than `pool_size` connections and outlives a database restart. Its
    statements may take as long as they like."""
    return engine_over(Connector(url), pool_size=pool_size)


@asynccontextmanager
async def open_engine(
    url: URL,
    *,
    pool_size: int,
    echo: bool = False,
    statement_seconds: float | None = None,
    shares_sessions: bool = False,
    clock: DatabaseClock | None = None,
) -> AsyncIterator[AsyncEngine]:
    """As `create_engine`; closed within seconds when the block ends, whatever the network does.

    `statement_seconds` bounds each statement. With `shares_sessions` nothing is asked of a connection that a
    pooler which gives one for a transaction only cannot keep.
    """
    connector = Connector(url, statement_seconds=statement_seconds, clock=clock)
    connector.shares_sessions |= shares_sessions
    engine = engine_over(connector, pool_size=pool_size, echo=echo)
    try:
        yield engine
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * CLOSE_SECONDS):
                await engine.dispose()
        connector.terminate()


def engine_over(connector: Connector, *, pool_size: int, echo: bool = False) -> AsyncEngine:
    engine = create_async_engine(
        # Where it really leads only the connector knows.
        URL.create("postgresql+asyncpg"),
        async_creator=connector,
        connect_args={"prepared_statement_cache_size": 0} if connector.unnamed else {},
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=_POOL_WAIT_SECONDS,
        echo=False,
        logging_name="mosic" if echo else None,
        # Neither in the log nor in the text of an error: they are what clients sent, addresses with a
        # signature for example.
        hide_parameters=True,
    )

    # The connections that are checked out fail here; a server that takes no changes any more, or that shuts
    # down, has others in the pool.
    def note_fault(context: Any) -> None:
        fault = fault_of(context.original_exception)
        if fault is not None and fault.lost:
            context.is_disconnect = True
            if fault is UNREACHABLE:
                connector.doubt()

    event.listen(engine.sync_engine, "handle_error", note_fault)
    event.listen(engine.sync_engine, "connect", _end_setting_up)
    event.listen(engine.sync_engine, "checkin", _note_time)
    event.listen(engine.sync_engine, "checkout", _refuse_dead)
    return engine


def _end_setting_up(connection: Any, _: Any) -> None:
    connection.run_async(lambda driver: driver.end_setting_up())


def _note_time(_: Any, record: Any) -> None:
    record.info["used_at"] = time.monotonic()


def _refuse_dead(connection: Any, record: Any, _: Any) -> None:
    """The pool answers `DisconnectionError` with a new connection."""
    driver: Connection = connection.driver_connection
    if driver.is_closed():
        raise DisconnectionError
    if time.monotonic() - record.info.get("used_at", time.monotonic()) > _TRUSTED_SECONDS:
        try:
            connection.run_async(lambda driver: driver.execute("SELECT 1", timeout=_PING_SECONDS))
        except Exception as error:
            driver.terminate()
            raise DisconnectionError from error


def watch_pool(engine: AsyncEngine, on_change: Callable[[int], None]) -> None:
    """Call back with the number of connections in use whenever it changes."""

    def in_use() -> int:
        pool = engine.sync_engine.pool
        assert isinstance(pool, QueuePool)
        return pool.checkedout()

    event.listen(engine.sync_engine, "checkout", lambda *_: on_change(in_use()))
    # This one comes just before the connection is back.
    event.listen(engine.sync_engine, "checkin", lambda *_: on_change(in_use() - 1))


@asynccontextmanager
async def begin(engine: AsyncEngine, observer: Observer = UNOBSERVED) -> AsyncIterator[AsyncConnection]:
    """A transaction: committed when the block ends, rolled back when it raises.

    Raises `Unavailable` when the database cannot do it for now.
    """
    async with _acquired(engine, observer) as connection, connection.begin():
        yield connection


@asynccontextmanager
async def statements(
    engine: AsyncEngine, observer: Observer = UNOBSERVED
) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the driver, outside of any transaction: each statement is one by itself, done when it
    returns. For what is done so often that SQLAlchemy and two more round trips would be most of its cost.

    Behind a pooler that shares sessions they are one transaction, done when the block ends. Raises like
    `begin`.
    """
    async with _acquired(engine, observer) as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        if driver.shares_session:
            async with driver.transaction():
                yield driver
        else:
            yield driver


async def is_read_only(connection: AsyncConnection) -> bool:
    """Whether the database takes no changes: a replica, or one that was told so."""
    return bool(await connection.scalar(sa.text("SHOW transaction_read_only")) == "on")


@asynccontextmanager
async def acquired(engine: AsyncEngine, observer: Observer = UNOBSERVED) -> AsyncIterator[AsyncConnection]:
    """A connection of the pool, in which no transaction has begun; raises like `begin`."""
    async with _acquired(engine, observer) as connection:
        yield connection


@asynccontextmanager
async def _acquired(engine: AsyncEngine, observer: Observer) -> AsyncIterator[AsyncConnection]:
    connection = await _acquire(engine, observer)
    # Not with an exit stack, which would take a tenth of the time of what each upload does here twice.
    try:
        yield connection
    except (DBAPIError, *DRIVER_ERRORS) as error:
        fault = fault_of(error)
        if fault is None:
            raise
        if fault.lost and not connection.invalidated:
            await connection.invalidate()
        observer.failed(fault, error)
        raise Unavailable(fault.sentence) from error
    else:
        observer.succeeded()
    finally:
        await connection.__aexit__(None, None, None)


async def _acquire(engine: AsyncEngine, observer: Observer) -> AsyncConnection:
    observer.awaited(1)
    try:
        pool = engine.sync_engine.pool
        if isinstance(pool, QueuePool) and pool.checkedin():
            # One is there: nobody waits for longer than its proof takes, and a new connection in its place.
            return await engine.connect()
        async with asyncio.timeout(_ACQUIRE_SECONDS):
            return await engine.connect()
    except Exception as error:
        fault = fault_of(error, connecting=True)
        if fault is None:
            raise
        observer.failed(fault, error)
        raise Unavailable(fault.sentence) from error
    finally:
        observer.awaited(-1)
