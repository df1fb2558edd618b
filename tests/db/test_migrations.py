"""The migrations make exactly the tables that the code knows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from hashlib import sha256

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from mosic.db.engine import create_engine
from mosic.db.migrate import head, is_current, migrate, migrations_folder, move_to
from mosic.db.tables import metadata, swept_blobs
from mosic.errors import StartupError
from mosic.postgres import EmbeddedPostgres


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(migrations_folder())).get_current_head() == head()


async def test_migrations_equal_tables(empty_database_url: URL) -> None:
    engine = create_engine(empty_database_url, pool_size=1)
    assert not await is_current(engine)
    await migrate(engine)
    assert await is_current(engine)

    def differences(connection: Connection) -> object:
        context = MigrationContext.configure(
            connection, opts={"compare_server_default": True, "version_table": "mosic_version"}
        )
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
        await connection.execute(sa.text("UPDATE mosic_version SET version_num = '9999'"))
    assert not await is_current(engine)
    with pytest.raises(StartupError, match="newer version"):
        await migrate(engine)
    await engine.dispose()


async def test_beside_another_application(empty_database_url: URL) -> None:
    """Its table of versions has the name that alembic gives by itself."""
    engine = create_engine(empty_database_url, pool_size=1)
    async with engine.begin() as connection:
        await connection.execute(sa.text("CREATE TABLE alembic_version (version_num text)"))
        await connection.execute(sa.text("INSERT INTO alembic_version VALUES ('0003')"))
    await migrate(engine)
    assert await is_current(engine)
    async with engine.begin() as connection:
        assert await connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "0003"
    await engine.dispose()


async def test_the_older_table_of_versions_becomes_our_own(empty_database_url: URL) -> None:
    engine = create_engine(empty_database_url, pool_size=1)
    await migrate(engine)
    async with engine.begin() as connection:
        await connection.execute(sa.text("ALTER TABLE mosic_version RENAME TO alembic_version"))
    assert await is_current(engine)
    await migrate(engine)
    async with engine.begin() as connection:
        assert await connection.scalar(sa.text("SELECT to_regclass('alembic_version')")) is None
        assert await connection.scalar(sa.text("SELECT version_num FROM mosic_version")) == head()
    await engine.dispose()


async def test_nothing_to_migrate_waits_for_nobody(empty_database_url: URL) -> None:
    engine = create_engine(empty_database_url, pool_size=2)
    await migrate(engine)
    async with engine.begin() as connection:
        await connection.execute(sa.text("SELECT pg_advisory_xact_lock(x'6D6F736963'::bigint)"))
        await asyncio.wait_for(migrate(engine), 60)
    await engine.dispose()


async def test_blobs_get_rows_of_their_own_and_lose_them_again(empty_database_url: URL) -> None:
    """With clips in use, external ones, ones in the trash, and ones with other bytes than at first."""
    engine = create_engine(empty_database_url, pool_size=1)
    key = "018f0000000070008000{:012x}".format
    insert = sa.text(
        "INSERT INTO clips (id, title, blob_key, size, sha256, media_type, created_at, stored_at, deleted_at)"
        " VALUES (gen_random_uuid(), :title, :key, 5, sha256(cast(:title AS text)::bytea), 'audio/flac',"
        " '2024-05-01', :stored_at, :deleted_at)"
    )
    read = sa.text("SELECT title, blob_key, size, sha256, media_type, external_url FROM clips ORDER BY title")
    later = datetime(2024, 6, 1, tzinfo=UTC)
    async with engine.begin() as connection:
        await move_to(connection, "0012")
        for number, (title, stored_at, deleted_at) in enumerate(
            [("plain", None, None), ("replaced", later, None), ("trashed", None, later)]
        ):
            values = {"title": title, "stored_at": stored_at, "deleted_at": deleted_at}
            await connection.execute(insert, {"key": key(number), **values})
        await connection.execute(
            sa.text(
                "INSERT INTO clips (id, title, external_url, media_type)"
                " VALUES (gen_random_uuid(), 'elsewhere', 'https://example.org/a', 'audio/ogg')"
            )
        )
        before = (await connection.execute(read)).all()
    await migrate(engine)
    async with engine.begin() as connection:
        rows = await connection.execute(
            sa.text("SELECT key, size, sha256, media_type, created_at FROM blobs ORDER BY key")
        )
        made = datetime(2024, 5, 1, tzinfo=UTC)
        assert [tuple(row) for row in rows] == [
            (key(0), 5, sha256(b"plain").digest(), "audio/flac", made),
            (key(1), 5, sha256(b"replaced").digest(), "audio/flac", later),
            (key(2), 5, sha256(b"trashed").digest(), "audio/flac", made),
        ]
        types = sa.text("SELECT title, media_type FROM clips WHERE media_type IS NOT NULL")
        assert [tuple(row) for row in await connection.execute(types)] == [("elsewhere", "audio/ogg")]
    async with engine.begin() as connection:
        await move_to(connection, "0012")
        assert (await connection.execute(read)).all() == before
        # And once more a clip's key is claimed by its own row.
        await connection.execute(sa.insert(swept_blobs).values(blob_key=key(9)))
    values = {"title": "late", "stored_at": None, "deleted_at": None}
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError, match="was swept"):
            await connection.execute(insert, {"key": key(9), **values})
    await migrate(engine)
    assert await is_current(engine)
    await engine.dispose()


async def test_another_encoding_is_named(postgres: EmbeddedPostgres) -> None:
    maintenance = create_async_engine(postgres.url_for("postgres"), isolation_level="AUTOCOMMIT")
    async with maintenance.connect() as connection:
        make = "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0"
        await connection.execute(sa.text(make))
        engine = create_engine(postgres.url_for("latin"), pool_size=1)
        with pytest.raises(StartupError, match="LATIN1"):
            await migrate(engine)
        await engine.dispose()
        await connection.execute(sa.text("DROP DATABASE latin"))
    await maintenance.dispose()


async def test_a_role_that_may_make_no_tables_is_told_what_to_do(
    postgres: EmbeddedPostgres, empty_database_url: URL
) -> None:
    maintenance = create_async_engine(postgres.url_for("postgres"), isolation_level="AUTOCOMMIT")
    role = f"guest-{empty_database_url.database}"
    async with maintenance.connect() as connection:
        await connection.execute(sa.text(f'CREATE ROLE "{role}" LOGIN'))
        engine = create_engine(empty_database_url.set(username=role), pool_size=1)
        with pytest.raises(StartupError) as refused:
            await migrate(engine)
        # What it says is what helps.
        await connection.execute(sa.text(str(refused.value).partition(": ")[2]))
        await migrate(engine)
        assert await is_current(engine)
        await engine.dispose()
        owner = empty_database_url.username
        await connection.execute(sa.text(f'ALTER DATABASE {empty_database_url.database} OWNER TO "{owner}"'))
    await maintenance.dispose()
    await _drop_role(empty_database_url, role)


async def _drop_role(database_url: URL, role: str) -> None:
    engine = create_async_engine(database_url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(sa.text(f'DROP OWNED BY "{role}" CASCADE'))
        await connection.execute(sa.text(f'DROP ROLE "{role}"'))
    await engine.dispose()
