"""Rows out of the catalogue and into an empty one, in PostgreSQL's own text form."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mosic.db.engine import is_away
from mosic.db.tables import clips, metadata, swept_blobs, uploads
from mosic.errors import Unavailable

# Uploads under way are about staged files, swept blobs about processes that are still running: neither means
# anything to another service. Whatever other table there is belongs to the catalogue.
_LEFT_OUT = (uploads, swept_blobs)

# Values are written so that any server reads them as they were meant, whatever its own defaults.
_PLAIN = sa.text(
    "SELECT set_config('DateStyle', 'ISO, YMD', true), set_config('extra_float_digits', '1', true),"
    " set_config('bytea_output', 'hex', true)"
)


@asynccontextmanager
async def snapshot(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction in which the catalogue stands still. As long as it is open, PostgreSQL keeps every old
    version of a row: it is not for work that takes long.

    Raises `Unavailable` when the database cannot be reached.
    """
    try:
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with connection.begin():
                await connection.execute(_PLAIN)
                yield connection
    except (DBAPIError, OSError, PoolTimeout, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if is_away(error):
            raise Unavailable("The database cannot be reached.") from error
        raise


def saved_tables() -> list[sa.Table]:
    """What a backup has, in the order in which the tables can be filled."""
    return [table for table in metadata.sorted_tables if table not in _LEFT_OUT]


def saved_columns(table: sa.Table) -> list[str]:
    """Without those that PostgreSQL computes."""
    return [column.name for column in table.columns if column.computed is None]


async def copy_out(
    connection: AsyncConnection, table: sa.Table, write: Callable[[bytes], Awaitable[None]]
) -> int:
    """Hand all rows to `write`, in the order of their primary key; says how many they were."""
    columns = ", ".join(saved_columns(table))
    order = ", ".join(column.name for column in table.primary_key)
    query = f"SELECT {columns} FROM {table.name} ORDER BY {order}"  # noqa: S608 – names from `tables`
    said = await (await _driver(connection)).copy_from_query(query, output=write)
    return int(said.split()[-1])


async def copy_in(connection: AsyncConnection, table: str, columns: Sequence[str], file: Path) -> int:
    """Add the rows in the file to the table; says how many they were. `table` is a plain name.

    The claim of each blob (docs/decisions/0006-sweep.md) is left out: it would cost a lock and a look for
    each clip of a catalogue. So only the sole sweeper may do this, and has to forget what was swept.
    """
    await connection.execute(_PLAIN)
    await connection.execute(sa.text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
    said = await (await _driver(connection)).copy_to_table(table, source=str(file), columns=list(columns))
    await connection.execute(sa.text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))
    return int(said.split()[-1])


async def forget_all_swept(connection: AsyncConnection) -> None:
    """A blob that was an orphan here may have its clip back."""
    await connection.execute(sa.delete(swept_blobs))


async def clips_there(connection: AsyncConnection, *, lock: bool = False) -> int:
    """How many clips there are, 0 also in a database without tables. With `lock` nobody adds any until the
    transaction ends."""
    if not await connection.run_sync(lambda sync: sa.inspect(sync).has_table(clips.name)):
        return 0
    if lock:
        await connection.execute(sa.text(f"LOCK TABLE {clips.name} IN EXCLUSIVE MODE"))
    return await connection.scalar(sa.select(sa.func.count()).select_from(clips)) or 0


async def _driver(connection: AsyncConnection) -> Any:
    """asyncpg's connection, in the transaction that has begun with some statement before."""
    return (await connection.get_raw_connection()).driver_connection
