"""A database as it is at start: reached, looked at, and opened for what it is needed for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import asyncpg
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from mosic.db.clock import DatabaseClock
from mosic.db.connecting import Connection, Connector, check_files, shown
from mosic.db.engine import open_engine
from mosic.db.faults import DRIVER_ERRORS, said
from mosic.db.pooler import shares_sessions
from mosic.errors import StartupError

_DIRECT = "MOSIC_DATABASE_DIRECT_URL"
_UNSUPPORTED = "unsupported startup parameter: "
# The same server and the same database, seen from inside.
_WHICH = "SELECT current_database() || ' since ' || pg_postmaster_start_time()"


@dataclass(frozen=True, slots=True)
class Database:
    """A database that answers. `engine` is for commands and what needs a session of its own: it leads past
    poolers, and its statements may take as long as they like."""

    engine: AsyncEngine
    url: URL
    clock: DatabaseClock
    pooled_url: URL
    shares_sessions: bool
    """Whether `pooled_url`, by which requests go, leads through a pooler that shares sessions."""

    def for_requests(
        self, *, pool_size: int, statement_seconds: float, echo: bool = False
    ) -> AbstractAsyncContextManager[AsyncEngine]:
        return open_engine(
            self.pooled_url,
            pool_size=pool_size,
            echo=echo,
            statement_seconds=statement_seconds,
            shares_sessions=self.shares_sessions,
            clock=self.clock,
        )

    def beside(self, *, pool_size: int, statement_seconds: float) -> AbstractAsyncContextManager[AsyncEngine]:
        """Past poolers, with limits in time."""
        return open_engine(
            self.url, pool_size=pool_size, statement_seconds=statement_seconds, clock=self.clock
        )


@asynccontextmanager
async def reach(url: URL, direct: URL | None = None, *, echo: bool = False) -> AsyncIterator[Database]:
    """`url` may lead through a pooler, `direct` has to lead past it to the same database.

    Raises `StartupError` with a sentence for the operator: when one of them cannot be used, and when sessions
    are shared and there is no `direct`.
    """
    clock = DatabaseClock()
    shared = await _look(url, clock, "")
    if shared and direct is None:
        raise StartupError(
            f"The database {shown(url)} is behind a pooler that shares sessions between clients (PgBouncer: "
            f"pool_mode=transaction). Set {_DIRECT} to a URL that leads past it, for LISTEN, locks, "
            "migrations and backups; or let the pooler give each client a session (pool_mode=session)."
        )
    if direct is not None:
        if await _look(direct, clock, f"{_DIRECT}: "):
            raise StartupError(
                f"{_DIRECT}: {shown(direct)} is behind a pooler that shares sessions between clients; it has "
                "to lead past it."
            )
        if await _which(url, shared=shared) != await _which(direct, shared=False):
            raise StartupError(f"{_DIRECT}: {shown(direct)} is not the same database as {shown(url)}.")
    async with open_engine(direct or url, pool_size=2, echo=echo, clock=clock) as engine:
        yield Database(engine, direct or url, clock, url, shared)


async def _look(url: URL, clock: DatabaseClock, named: str) -> bool:
    """Whether sessions are shared; raises `StartupError`, beginning with `named`."""
    check_files(url)
    connector = Connector(url, clock=clock)
    try:
        return connector.said_to_share or await shares_sessions(connector)
    except (*DRIVER_ERRORS, ValueError) as error:
        raise StartupError(f"{named}{_refusal(url, error)}") from error
    finally:
        connector.terminate()


def _refusal(url: URL, error: BaseException) -> str:
    text = said(error)
    if _UNSUPPORTED in text:
        parameter = text.partition(_UNSUPPORTED)[2].split()[0].strip("\"'.,")
        return (
            f"The pooler at {shown(url)} refuses the parameter {parameter!r} of a connection: leave it out "
            f"of the database URL, or allow it (PgBouncer: ignore_startup_parameters = {parameter})."
        )
    if isinstance(error, TimeoutError):
        text = "it does not respond"
    return f"The database {shown(url)} cannot be used: {text}"


async def _which(url: URL, *, shared: bool) -> str:
    connector = Connector(url)
    connector.shares_sessions |= shared
    try:
        connection: Connection = await connector()
        if not connector.unnamed:
            return str(await connection.fetchval(_WHICH))
        await connection.end_setting_up()
        async with connection.transaction():
            return str(await connection.fetchval(_WHICH))
    except (asyncpg.PostgresError, OSError, asyncpg.InterfaceError) as error:
        raise StartupError(_refusal(url, error)) from error
    finally:
        connector.terminate()
