"""Bring the schema to what this version of Mosic needs."""

from __future__ import annotations

import asyncio
from functools import cache
from importlib.resources import files
from pathlib import Path

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mosic.db.engine import acquired
from mosic.db.faults import fault_of
from mosic.errors import StartupError

# Any fixed number: a process that migrates this database holds this advisory lock, also from another machine.
_LOCK = 0x6D6F736963
VERSION_TABLE = "mosic_version"
"""Where alembic notes the revision: a table of Mosic's own, beside another application's."""

_OLD_VERSION_TABLE = "alembic_version"
_OLDEST = 14
_WAIT_SECONDS = 1.0
_NOT_ALLOWED = "42501"
_log = structlog.get_logger("mosic.migrate")


def migrations_folder() -> Path:
    """The wheel carries the folder inside the package, a checkout has it at its top."""
    package = Path(str(files("mosic")))
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parents[1] / "migrations"


@cache
def head() -> str:
    """The newest revision.

    Told from the names of the files, which are numbered: it spares a start that has nothing to migrate the
    third of a second that importing alembic costs. (A test compares it with what alembic says.)
    """
    newest = max(file.name for file in (migrations_folder() / "versions").glob("[0-9]*.py"))
    return newest.split("_")[1]


def knows(revision: str) -> bool:
    """Whether this version can bring a database to the revision, or from there to its own."""
    return any(migrations_folder().glob(f"versions/*_{revision}_*.py"))


def _move(connection: Connection, current: str | None, target: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    if current is not None and not knows(current):
        raise StartupError(
            f"The database is at revision {current}, which this version of Mosic does not know: "
            "it was migrated by a newer version. Start that version, or restore a backup."
        )
    config.attributes["connection"] = connection
    if current is None or current < target:
        command.upgrade(config, target)
    else:
        command.downgrade(config, target)


def _current(connection: Connection) -> str | None:
    found = sa.inspect(connection)
    for table in (VERSION_TABLE, _OLD_VERSION_TABLE):
        # Another application may have a table of the older name: it is Mosic's where Mosic's clips are.
        if found.has_table(table) and (table == VERSION_TABLE or _has_clips(connection)):
            current: str | None = connection.scalar(sa.text(f"SELECT version_num FROM {table}"))  # noqa: S608
            return current
    return None


def _has_clips(connection: Connection) -> bool:
    found = sa.inspect(connection)
    return found.has_table("clips") and "blob_key" in {
        column["name"] for column in found.get_columns("clips")
    }


def _keep_version_apart(connection: Connection) -> None:
    """What was migrated before Mosic had a version table of its own is renamed to that."""
    found = sa.inspect(connection)
    if not found.has_table(VERSION_TABLE) and found.has_table(_OLD_VERSION_TABLE) and _has_clips(connection):
        connection.execute(sa.text(f"ALTER TABLE {_OLD_VERSION_TABLE} RENAME TO {VERSION_TABLE}"))


async def migrate(engine: AsyncEngine) -> None:
    """Apply every outstanding migration in one transaction; others who try meanwhile wait for it. Where there
    is none, nobody waits.

    Raises `StartupError` when the database belongs to a newer version, or is none for Mosic.
    """
    async with engine.connect() as connection:
        await _check_kind(connection)
        if await current(connection) == head() and await connection.run_sync(_has_own_table):
            return
        await _check_rights(connection)
    told = False
    while True:
        async with engine.begin() as connection:
            if await connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK))):
                try:
                    await move_to(connection, head())
                except DBAPIError as error:
                    if fault_of(error) is not None and getattr(error.orig, "sqlstate", "") != _NOT_ALLOWED:
                        raise
                    raise StartupError(f"The database cannot be migrated: {str(error.orig)[:500]}") from error
                return
        if not told:
            _log.warning("another process is migrating this database, or holds its lock; waiting")
            told = True
        await asyncio.sleep(_WAIT_SECONDS)


def _has_own_table(connection: Connection) -> bool:
    return sa.inspect(connection).has_table(VERSION_TABLE)


async def _check_kind(connection: AsyncConnection) -> None:
    name, encoding, number = (
        await connection.execute(
            sa.text(
                "SELECT current_database(), current_setting('server_encoding'),"
                " current_setting('server_version_num')::int"
            )
        )
    ).one()
    if number < _OLDEST * 10_000:
        raise StartupError(
            f"The database {name} is in PostgreSQL {number // 10_000}; Mosic needs {_OLDEST} or later."
        )
    if encoding != "UTF8":
        raise StartupError(
            f"The database {name} has the encoding {encoding}, which cannot hold every title. Make one: "
            f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0;"
        )


async def _check_rights(connection: AsyncConnection) -> None:
    """Of a role that is to make or change tables."""
    name, role, allowed = (
        await connection.execute(
            sa.text(
                "SELECT quote_ident(current_database()), quote_ident(current_user),"
                " coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
            )
        )
    ).one()
    if not allowed:
        raise StartupError(
            f"The role {role} may not make tables in the database {name}. As its owner or an administrator: "
            f"ALTER DATABASE {name} OWNER TO {role};"
        )


async def move_to(connection: AsyncConnection, revision: str) -> None:
    """Bring the schema to a known revision, an older one too, which is for empty tables only.

    Nobody else migrates until the transaction ends. Raises `StartupError` when the database belongs to a
    newer version.
    """
    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    await connection.run_sync(_keep_version_apart)
    found = await current(connection)
    if found != revision:
        await connection.run_sync(_move, found, revision)


async def current(connection: AsyncConnection) -> str | None:
    """The revision that the schema is at; None when nothing was ever migrated."""
    return await connection.run_sync(_current)


async def revision(engine: AsyncEngine) -> str | None:
    """As `current`; raises `Unavailable` when the database cannot say."""
    async with acquired(engine) as connection:
        return await current(connection)


async def is_current(engine: AsyncEngine) -> bool:
    """Whether the schema is the one that this version needs."""
    return await revision(engine) == head()
