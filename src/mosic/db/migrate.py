"""Bring the schema to what this version of Mosic needs."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mosic.errors import StartupError

# Any fixed number: whoever migrates this database holds this advisory lock, also from another machine.
_LOCK = 0x6D6F736963


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
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    current: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return current


async def migrate(engine: AsyncEngine) -> None:
    """Apply every outstanding migration in one transaction; others who try meanwhile wait for it.

    Raises `StartupError` when the database belongs to a newer version.
    """
    async with engine.begin() as connection:
        await move_to(connection, head())


async def move_to(connection: AsyncConnection, revision: str) -> None:
    """Bring the schema to a known revision, an older one too, which is for empty tables only.

    Nobody else migrates until the transaction ends. Raises `StartupError` when the database belongs to a
    newer version.
    """
    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    current = await connection.run_sync(_current)
    if current != revision:
        await connection.run_sync(_move, current, revision)


async def revision(engine: AsyncEngine) -> str | None:
    """The revision that the schema is at; None when nothing was ever migrated."""
    async with engine.connect() as connection:
        return await connection.run_sync(_current)


async def is_current(engine: AsyncEngine) -> bool:
    """Whether the schema is the one that this version needs."""
    return await revision(engine) == head()
