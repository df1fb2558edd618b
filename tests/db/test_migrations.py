"""The migrations make exactly the tables that the code knows."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection

from mosic.db.engine import create_engine
from mosic.db.migrate import head, is_current, migrate, migrations_folder
from mosic.db.tables import metadata
from mosic.errors import StartupError


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(migrations_folder())).get_current_head() == head()


async def test_migrations_equal_tables(empty_database_url: URL) -> None:
    engine = create_engine(empty_database_url, pool_size=1)
    assert not await is_current(engine)
    await migrate(engine)
    assert await is_current(engine)

    def differences(connection: Connection) -> object:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return compare_metadata(context, metadata)

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_check_constraints_equal_tables(empty_database_url: URL) -> None:
    """Alembic does not compare them."""
    constraints = sa.text(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE contype = 'c' AND connamespace = 'public'::regnamespace ORDER BY conname"
    )
    engine = create_engine(empty_database_url, pool_size=1)
    await migrate(engine)
    async with engine.begin() as connection:
        migrated = (await connection.execute(constraints)).all()
        await connection.run_sync(metadata.drop_all)
        await connection.run_sync(metadata.create_all)
        declared = (await connection.execute(constraints)).all()
    assert migrated == declared
    assert migrated
    await engine.dispose()


async def test_many_migrate_at_once(empty_database_url: URL) -> None:
    engines = [create_engine(empty_database_url, pool_size=1) for _ in range(5)]
    await asyncio.gather(*(migrate(engine) for engine in engines))
    assert await is_current(engines[0])
    for engine in engines:
        await engine.dispose()


async def test_database_of_a_newer_version_is_refused(empty_database_url: URL) -> None:
    engine = create_engine(empty_database_url, pool_size=1)
    await migrate(engine)
    async with engine.begin() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    assert not await is_current(engine)
    with pytest.raises(StartupError, match="newer version"):
        await migrate(engine)
    await engine.dispose()
