"""The connection pool, and the one way to a transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from mosic.errors import Unavailable

# SQLSTATE classes that mean «not now»: connection trouble, out of resources, shutting down or not up yet.
_AWAY_CLASSES = ("08", "53", "57P")
_POOL_WAIT_SECONDS = 10
# What a connection that cannot be made, or that dies under a query, comes out as.
_BROKEN = (OSError, TimeoutError, PoolTimeout, asyncpg.InterfaceError, asyncpg.InternalClientError)


def create_engine(url: URL, *, pool_size: int, echo: bool = False) -> AsyncEngine:
    """An engine whose pool never opens more than `pool_size` connections and outlives a database restart."""
    connect_args: dict[str, Any] = {
        "timeout": 10,
        "server_settings": {"application_name": "mosic", "TimeZone": "UTC"},
    }
    # libpq's word for it; asyncpg takes the setting under another name, and only as an argument.
    query = dict(url.query)
    if sslmode := query.pop("sslmode", None):
        connect_args["ssl"] = sslmode
    if url.password is None and str(url.host or query.get("host", "")).startswith("/"):
        # Through a unix socket the server knows who is there. Without this asyncpg would look for a password
        # file at each connection, on the event loop.
        connect_args["password"] = ""
    return create_async_engine(
        url.set(query=query),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=_POOL_WAIT_SECONDS,
        pool_pre_ping=True,
        # Whatever the database's default: several statements here rely on a snapshot of their own.
        isolation_level="READ COMMITTED",
        echo=False,
        logging_name="mosic" if echo else None,
        # Neither in the log nor in the text of an error: they are what clients sent, addresses with a
        # signature for example.
        hide_parameters=True,
        connect_args=connect_args,
    )


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


@asynccontextmanager
async def begin(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction: committed when the block ends, rolled back when it raises.

    Raises `Unavailable` when the database cannot be reached.
    """
    try:
        async with engine.begin() as connection:
            yield connection
    except (DBAPIError, asyncpg.PostgresError, *_BROKEN) as error:
        if is_away(error):
            raise Unavailable("The database cannot be reached.") from error
        raise
