"""Whether a pooler in front of the database (PgBouncer, …) gives each client a session of its own."""

from __future__ import annotations

import secrets

import asyncpg

from mosic.db.connecting import Connection, Connector

_ATTEMPTS = 5
# That a prepared statement is not there, or there already: it is another session already.
_OTHER_SESSION = ("26000", "42P05")


async def shares_sessions(connector: Connector) -> bool:
    """Whether what one client sets another meets (PgBouncer: `pool_mode=transaction`). Raises like the
    connector.

    Without a pooler this costs one connection and no statement: the process that the server says it is, is
    the one that answers.
    """
    one = await connector()
    try:
        if await one.fetchval("SELECT pg_backend_pid()") == one.get_server_pid():
            return False
        other = await connector()
        try:
            return await _share(one, other)
        finally:
            await other.close()
    except asyncpg.PostgresError as error:
        if error.sqlstate in _OTHER_SESSION:
            return True
        raise
    finally:
        await one.close()


async def _share(one: Connection, other: Connection) -> bool:
    """A setting of the session has to stay in it, and must not be seen from the other. A pooler that shares
    gives the server connection that was used last: so it is found out at the first attempt, if no other
    client comes in between."""
    for _ in range(_ATTEMPTS):
        token = secrets.token_hex(8)
        await one.execute(f"SET mosic.session = '{token}'")
        try:
            async with other.transaction():
                theirs = await other.fetchval("SELECT current_setting('mosic.session', true)")
                async with one.transaction():
                    ours = await one.fetchval("SELECT current_setting('mosic.session', true)")
        finally:
            await one.execute("RESET mosic.session")
        if theirs == token or ours != token:
            return True
    return False
