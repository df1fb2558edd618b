"""How alembic reaches the database: over the connection that Mosic hands it, or one of its own."""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection

from mosic.db.migrate import VERSION_TABLE
from mosic.db.tables import metadata


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_server_default=True,
        version_table=VERSION_TABLE,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_with_own_connection() -> None:
    """For the `alembic` command: the database that the settings name, the embedded one included."""
    from mosic.background import Background
    from mosic.boot import open_database
    from mosic.settings import load_settings

    async with (
        open_database(load_settings(), Background()) as database,
        database.engine.begin() as connection,
    ):
        await connection.run_sync(run)


if context.is_offline_mode():
    context.configure(
        dialect_name="postgresql", target_metadata=metadata, literal_binds=True, version_table=VERSION_TABLE
    )
    with context.begin_transaction():
        context.run_migrations()
elif (given := context.config.attributes.get("connection")) is not None:
    run(given)
else:
    asyncio.run(run_with_own_connection())
