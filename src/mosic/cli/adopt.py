"""`mosic adopt-store`: for operators who know that a store belongs to a database, when a start is refused
because the two do not match."""

from __future__ import annotations

import sys

import typer

from mosic.boot import open_storage
from mosic.cli.setup import set_up
from mosic.core import identity
from mosic.core.places import store_folders, store_place
from mosic.db.connecting import shown
from mosic.db.migrate import migrate
from mosic.errors import StartupError
from mosic.settings.store import MemoryStore


async def adopt_store(*, yes: bool) -> None:
    """Asks for confirmation on a terminal; elsewhere it needs `yes`. Exits with 1 when nothing was done."""
    settings = set_up()
    if isinstance(settings.store, MemoryStore):
        raise StartupError("MOSIC_STORE_URL=memory: cannot be adopted: it belongs to no database")
    for setting, folder in store_folders(settings).items():
        if not folder.is_dir():
            raise StartupError(f"{setting}: the folder {folder.absolute()} does not exist")
    place = store_place(settings)
    url = settings.external_database
    database = shown(url) if url is not None else f"MOSIC_DATA_DIR ({settings.data_dir.absolute()})"
    async with open_storage(settings) as storage:
        await migrate(storage.engine)
        if await identity.is_own(storage.engine, storage.blobs):
            typer.echo(f"{place} is already the store of the database {database}.")
            return
        found = await identity.look(storage.engine, storage.blobs)
        typer.echo(
            f"Database: {database}, with {found.wanted} blobs in its catalogue.\n"
            f"Store:    {place}, which holds {found.held} of them, and {found.unknown} that the database "
            "does not know."
        )
        if found.unknown:
            typer.echo("Blobs that the database does not know may be removed by a sweep.")
        if found.held < found.wanted:
            typer.echo("Clips whose blobs are not in the store cannot be played.")
        typer.echo("A service on another database that used this store will no longer start with it.")
        if not (yes or _agreed()):
            raise typer.Exit(1)
        await identity.adopt(storage.engine, storage.blobs)
    typer.echo("The store now belongs to this database.")


def _agreed() -> bool:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        typer.echo("mosic: nothing was changed: without a terminal, --yes is needed", err=True)
        return False
    return typer.confirm("Adopt the store?")
