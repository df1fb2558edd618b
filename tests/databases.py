"""A database for services that live longer than one test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from mosic.postgres import EmbeddedPostgres
from tests.conftest import shown


@asynccontextmanager
async def empty_database(server: EmbeddedPostgres) -> AsyncIterator[str]:
    """The URL, as an operator would write it, of a database that is dropped at the end."""
    name = f"test_{os.urandom(6).hex()}"
    url = server.url_for("postgres")
    maintenance = await asyncpg.connect(
        host=url.host, port=url.port, user=url.username, database=url.database
    )
    try:
        await maintenance.execute(f"CREATE DATABASE {name}")
        yield shown(server.url_for(name))
        await maintenance.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await maintenance.close()
