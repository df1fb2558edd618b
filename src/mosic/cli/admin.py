"""Commands that work on the catalogue without a running service."""

from __future__ import annotations

import typer

from mosic.background import Background
from mosic.boot import open_database
from mosic.cli.setup import set_up
from mosic.db import migrate as migrations


async def migrate() -> None:
    settings = set_up()
    async with open_database(settings, Background()) as database:
        await migrations.migrate(database.engine)
    typer.echo("The database is at the revision that this version needs.")
