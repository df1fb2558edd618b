"""Rows out of the catalogue and into an empty one, in PostgreSQL's own text form."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mosic.db.engine import acquired
from mosic.db.faults import fault_of
from mosic.db.tables import blobs, clips, metadata, service, swept_blobs, uploads
from mosic.wire.addresses import MAX_URL_LENGTH
from mosic.wire.disposition import safe_file_name
from mosic.wire.text import clean, clean_line, is_harmless
from mosic.words import TEXTS, WORDS

_ROWS_AT_ONCE = 500

# Uploads under way are about staged files, swept blobs about processes that are still running, the service
# about its own store: none means anything to another service. Every other table belongs to the catalogue.
_LEFT_OUT = (uploads, swept_blobs, service)

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
    async with acquired(engine) as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        async with connection.begin():
            await connection.execute(_PLAIN)
            yield connection


def saved_tables() -> list[sa.Table]:
    """What a backup has, in the order in which the tables can be filled."""
    return [table for table in metadata.sorted_tables if table not in _LEFT_OUT]


def saved_columns(table: sa.Table) -> list[str]:
    """Without those that are made from the others."""
    return [column.name for column in table.columns if column.computed is None and not column.info]


async def copy_out(
    connection: AsyncConnection, table: sa.Table, write: Callable[[bytes], Awaitable[None]]
) -> int:
    """Hand all rows to `write`, in the order of their primary key; says how many they were. Raises the
    `OSError` that it raises."""
    failure: OSError | None = None

    async def write_on(chunk: bytes) -> None:
        # The rest is passed over. asyncpg would cancel the query, and wait for ever to hear of that when the
        # rows had all come already.
        nonlocal failure
        if failure is None:
            try:
                await write(chunk)
            except OSError as error:
                failure = error

    columns = ", ".join(saved_columns(table))
    order = ", ".join(column.name for column in table.primary_key)
    query = f"SELECT {columns} FROM {table.name} ORDER BY {order}"  # noqa: S608 – names from `tables`
    said = await (await _driver(connection)).copy_from_query(query, output=write_on)
    if failure is not None:
        raise failure
    return int(said.split()[-1])


class RefusedRows(Exception):
    """The database does not take the rows; the message is its own, in one line."""


async def copy_in(
    connection: AsyncConnection, table: str, columns: Sequence[str], rows: AsyncIterator[bytes]
) -> int:
    """Add the rows to the table; says how many they were. `table` is one of those that are saved.

    The claim of each blob (docs/decisions/0006-sweep.md) is left out: it would cost a lock and a look for
    each clip of a catalogue. So only the sole sweeper may do this, and has to forget what was swept. Raises
    `RefusedRows`.
    """
    if await connection.scalar(sa.select(sa.func.to_regclass(table))) is None:
        raise RefusedRows("its version has no such table")
    await connection.execute(_PLAIN)
    await connection.execute(sa.text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
    try:
        said = await (await _driver(connection)).copy_to_table(table, source=rows, columns=list(columns))
    except asyncpg.PostgresError as error:
        # A column that is none is a fault of the rows here: the table is of the revision that they name.
        if fault_of(error) is not None and not isinstance(error, asyncpg.UndefinedColumnError):
            raise
        # Its detail would quote the row, which may be long and have anything in it.
        where = getattr(error, "constraint_name", None)
        raise RefusedRows(
            f"{error.args[0][:200]!a}" if where is None else f"it breaks the rule {where}"
        ) from None
    await connection.execute(sa.text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))
    return int(said.split()[-1])


async def broken_rules(connection: AsyncConnection) -> str | None:
    """A rule that some row of the catalogue breaks, among those of the tables (which an earlier revision had
    not) and those that hold for all that Mosic itself writes; None when all is well."""
    for name, query in _RULES.items():
        if await connection.scalar(sa.text(query.replace(":", r"\:"))):
            return name
    return None


async def clean_words(connection: AsyncConnection) -> None:
    """Take out of the words about clips what is taken out when they are sent: control characters, and those
    that reorder text. A backup may be a stranger's, or of a version that did not."""
    columns = [clips.c[name] for name in ("id", *TEXTS, "file_name", "tags")]
    statement = sa.select(*columns).order_by(clips.c.id).limit(_ROWS_AT_ONCE)
    rows = (await connection.execute(statement)).mappings().all()
    while rows:
        for row in rows:
            if changes := _cleaned(row):
                await connection.execute(sa.update(clips).where(clips.c.id == row["id"]).values(changes))
        rows = (await connection.execute(statement.where(clips.c.id > rows[-1]["id"]))).mappings().all()


def _cleaned(row: Mapping[Any, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = {
        word.name: (clean if word.kind == "prose" else clean_line)(row[word.name]) or None
        for word in WORDS
        if word.kind != "number" and not is_harmless(row[word.name] or "")
    }
    if "title" in changed:
        changed["title"] = changed["title"] or "Untitled"
    if not is_harmless(row["file_name"] or ""):
        changed["file_name"] = safe_file_name(row["file_name"])
    if not all(is_harmless(text) for name, texts in row["tags"].items() for text in (name, *texts)):
        found = row["tags"].items()
        changed["tags"] = {clean_line(name): [clean(text) for text in texts] for name, texts in found}
    return changed


# Years that Python knows, counts that can still grow, and texts that are far longer than clients may send.
_RULES = {
    "rules of the tables": "SELECT EXISTS (SELECT FROM pg_constraint WHERE NOT convalidated"
    " AND conrelid = ANY ('{blobs, clips, clip_plays, clip_sounds, clip_days, clip_carried}'::regclass[]))",
    "times": "SELECT EXISTS (SELECT FROM clips, unnest(ARRAY[created_at, updated_at]) AS at"
    " WHERE NOT at BETWEEN '1970-01-01' AND '9999-01-01') OR EXISTS (SELECT FROM blobs"
    " WHERE NOT created_at BETWEEN '1970-01-01' AND '9999-01-01') OR EXISTS (SELECT FROM clip_plays"
    " WHERE NOT last_played_at BETWEEN '1970-01-01' AND '9999-01-01') OR EXISTS (SELECT FROM works"
    " WHERE NOT updated_at BETWEEN '1970-01-01' AND '9999-01-01')",
    "counts": "SELECT EXISTS (SELECT FROM clips WHERE revision > 1000000000)"
    " OR EXISTS (SELECT FROM clip_plays WHERE greatest(play_count, bytes_streamed) > 1000000000000000000)",
    "a clip without its counters": "SELECT EXISTS (SELECT FROM clips WHERE NOT EXISTS"
    " (SELECT FROM clip_plays WHERE clip_id = id))",
    "texts": "SELECT EXISTS (SELECT FROM clips WHERE title = ''"  # noqa: S608
    f" OR greatest({', '.join(f'length({name})' for name in (*TEXTS, 'file_name'))}) > 100000"
    " OR codec !~ '^[!-~]{1,64}$' OR octet_length(tags::text) > 4000000)",
    "texts: a URL": f"SELECT EXISTS (SELECT FROM clips WHERE length(external_url) > {MAX_URL_LENGTH})",  # noqa: S608
    "metadata": "SELECT EXISTS (SELECT FROM clips WHERE octet_length(metadata::text) > 100000"
    " OR metadata @? 'lax $.**{40 to last}')",
    "tags": "SELECT EXISTS (SELECT FROM clips WHERE tags @? 'strict $.* ? (@.type() != \"array\")'"
    " OR tags @? 'lax $.*[*] ? (@.type() != \"string\")')",
}


async def let_works_wait(connection: AsyncConnection) -> None:
    """What was learnt is in the backup. What was not is learnt again: no process here is at it."""
    due = "CASE WHEN deleted_at IS NULL THEN now() ELSE 'infinity' END"
    await connection.execute(
        sa.text(
            "UPDATE works SET state = 'waiting', priority = 1, attempts = 0, owner = NULL,"  # noqa: S608
            f" leased_until = NULL, due_at = {due}, updated_at = now() FROM clips"
            " WHERE id = clip_id AND state IN ('waiting', 'running')"
        )
    )


async def forget_all_swept(connection: AsyncConnection) -> None:
    """A blob that was an orphan here may have its clip back."""
    await connection.execute(sa.delete(swept_blobs))


async def clips_there(connection: AsyncConnection, *, lock: bool = False) -> int:
    """How many clips there are, 0 also in a database without tables. With `lock` nobody adds any until the
    transaction ends."""
    if not await connection.run_sync(lambda sync: sa.inspect(sync).has_table(clips.name)):
        return 0
    if lock:
        await connection.execute(sa.text(f"LOCK TABLE {blobs.name}, {clips.name} IN EXCLUSIVE MODE"))
    return await connection.scalar(sa.select(sa.func.count()).select_from(clips)) or 0


async def _driver(connection: AsyncConnection) -> Any:
    """asyncpg's connection, in the transaction that has begun with some statement before."""
    return (await connection.get_raw_connection()).driver_connection
