"""The connection pool, and the one way to a transaction."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import URL, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

from mosic.errors import Unavailable

# SQLSTATE classes that mean «not now»: connection trouble, out of resources, shutting down or not up yet.
_AWAY_CLASSES = ("08", "53", "57P")
_POOL_WAIT_SECONDS = 10
# A connection that was used a moment ago is not asked whether it still lives: that is a round trip.
_TRUSTED_SECONDS = 1.0
# What a connection that cannot be made, or that dies under a query, comes out as.
_BROKEN = (OSError, TimeoutError, PoolTimeout, asyncpg.InterfaceError, asyncpg.InternalClientError)


def create_engine(url: URL, *, pool_size: int, echo: bool = False) -> AsyncEngine:
    """An engine whose pool never opens more than `pool_size` connections and outlives a database restart."""
    connect_args: dict[str, Any] = {
        "timeout": 10,
        "server_settings": {
            "application_name": "mosic",
            "TimeZone": "UTC",
            # Whatever the database's default: several statements here rely on a snapshot of their own.
            "default_transaction_isolation": "read committed",
        },
    }
    # libpq's word for it; asyncpg takes the setting under another name, and only as an argument.
    query = dict(url.query)
    if sslmode := query.pop("sslmode", None):
        connect_args["ssl"] = sslmode
    if url.password is None and str(url.host or query.get("host", "")).startswith("/"):
        # Through a unix socket the server knows who is there. Without this asyncpg would look for a password
        # file at each connection, on the event loop.
        connect_args["password"] = ""
    engine = create_async_engine(
        url.set(query=query),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=_POOL_WAIT_SECONDS,
        echo=False,
        logging_name="mosic" if echo else None,
        # Neither in the log nor in the text of an error: they are what clients sent, addresses with a
        # signature for example.
        hide_parameters=True,
        connect_args=connect_args,
    )
    event.listen(engine.sync_engine, "checkin", _note_time)
    event.listen(engine.sync_engine, "checkout", _refuse_dead)
    return engine


def _note_time(_: Any, record: Any) -> None:
    record.info["used_at"] = time.monotonic()


def _refuse_dead(connection: Any, record: Any, _: Any) -> None:
    """The pool answers `DisconnectionError` with a new connection."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError
    if time.monotonic() - record.info.get("used_at", time.monotonic()) > _TRUSTED_SECONDS:
        try:
            connection.ping()
        except Exception as error:
            raise DisconnectionError from error


def is_away(error: BaseException) -> bool:
    """Whether the error means that the database cannot be reached for now."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        sqlstate = getattr(error.orig, "sqlstate", None) or ""
        return str(sqlstate).startswith(_AWAY_CLASSES)
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate or "").startswith(_AWAY_CLASSES)
    return isinstance(error, _BROKEN)


def watch_pool(engine: AsyncEngine, on_change: Callable[[int], None]) -> None:
    """Call back with the number of connections in use whenever it changes."""

    def in_use() -> int:
        pool = engine.sync_engine.pool
        assert isinstance(pool, QueuePool)
        return pool.checkedout()

    event.listen(engine.sync_engine, "checkout", lambda *_: on_change(in_use()))
    # This one comes just before the connection is back.
    event.listen(engine.sync_engine, "checkin", lambda *_: on_change(in_use() - 1))


def _nobody(_: int) -> None:
    """Is not told who waits."""


@asynccontextmanager
async def begin(
    engine: AsyncEngine, on_wait: Callable[[int], None] = _nobody
) -> AsyncIterator[AsyncConnection]:
    """A transaction: committed when the block ends, rolled back when it raises.

    `on_wait` is called with 1 when it begins to wait for a connection, and with -1 when it does no more.
    Raises `Unavailable` when the database cannot be reached.
    """
    async with _acquired(engine, on_wait) as connection, connection.begin():
        yield connection


@asynccontextmanager
async def statements(
    engine: AsyncEngine, on_wait: Callable[[int], None] = _nobody
) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the driver, outside of any transaction: each statement is one by itself, done when it
    returns. For what is done so often that SQLAlchemy and two more round trips would be most of its cost.

    `on_wait` and what is raised are those of `begin`.
    """
    async with _acquired(engine, on_wait) as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        yield driver


@asynccontextmanager
async def _acquired(engine: AsyncEngine, on_wait: Callable[[int], None]) -> AsyncIterator[AsyncConnection]:
    waiting = 1
    on_wait(1)
    try:
        async with engine.connect() as connection:
            waiting = 0
            on_wait(-1)
            yield connection
    except (DBAPIError, asyncpg.PostgresError, *_BROKEN) as error:
        if is_away(error):
            raise Unavailable("The database cannot be reached.") from error
        raise
    finally:
        if waiting:
            on_wait(-1)
