"""Bring the schema to what this version of Mosic needs."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from mosic.errors import StartupError

# Any fixed number: whoever migrates this database holds this advisory lock, also from another machine.
_LOCK = 0x6D6F736963


def _config() -> Config:
    """Alembic's settings: the wheel carries the folder inside the package, a checkout has it at its top."""
    package = Path(str(files("mosic")))
    found = next(
        folder
        for folder in (package / "migrations", package.parents[1] / "migrations")
        if (folder / "env.py").is_file()
    )
    config = Config()
    config.set_main_option("script_location", str(found).replace("%", "%%"))
    return config


def _upgrade(connection: Connection) -> None:
    config = _config()
    known = {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        raise StartupError(
            f"The database is at revision {current}, which this version of Mosic does not know: "
            "it was migrated by a newer version. Start that version, or restore a backup."
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def migrate(engine: AsyncEngine) -> None:
    """Apply every outstanding migration in one transaction; others who try meanwhile wait for it.

    Raises `StartupError` when the database belongs to a newer version.
    """
    async with engine.begin() as connection:
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        await connection.run_sync(_upgrade)


async def is_current(engine: AsyncEngine) -> bool:
    """Whether the schema is the one that this version needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    async with engine.connect() as connection:
        return await connection.run_sync(
            lambda sync: MigrationContext.configure(sync).get_current_revision() == head
        )
