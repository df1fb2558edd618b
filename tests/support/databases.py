"""Databases of the tests: their URLs, those that live longer than one test, and ways to them that break."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from sqlalchemy import URL

from mosic.postgres import EmbeddedPostgres

TEMPLATE = "mosic_template"


def shown(url: URL) -> str:
    """The URL as an operator would write it: the folder of a unix socket goes into the query."""
    assert url.host
    return URL.create(
        "postgresql", url.username, database=url.database, query={"host": url.host, "port": str(url.port)}
    ).render_as_string(hide_password=False)


@asynccontextmanager
async def empty_database(server: EmbeddedPostgres) -> AsyncIterator[str]:
    """The URL, as an operator would write it, of a database that is dropped at the end. It is at the
    current revision, so that no service has to bring it there."""
    name = f"test_{os.urandom(6).hex()}"
    url = server.url_for("postgres")
    maintenance = await asyncpg.connect(
        host=url.host, port=url.port, user=url.username, database=url.database
    )
    try:
        await maintenance.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        yield shown(server.url_for(name))
        await maintenance.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await maintenance.close()


class Way:
    """A unix socket that leads to a server's own, until it is blocked."""

    def __init__(self, server: URL, folder: Path) -> None:
        assert server.host
        self._target = f"{server.host}/.s.PGSQL.{server.port}"
        self._path = folder / f".s.PGSQL.{server.port}"
        self._writers: set[asyncio.StreamWriter] = set()
        self._listening: asyncio.Server | None = None
        # Of the connections that are made from now on; what it belongs to is silent while it is not set.
        self._open = asyncio.Event()
        self._open.set()
        self.url = shown(server.set(host=str(folder)))

    async def unblock(self) -> None:
        self._listening = await asyncio.start_unix_server(self._pass_on, self._path)

    async def swallow(self) -> None:
        """From now on what is sent, over old connections and new ones, is lost without a word."""
        self._open.clear()

    async def pass_new_ones(self) -> None:
        """New connections lead to the server again; those that there are stay as silent as they were."""
        self._open = asyncio.Event()
        self._open.set()

    async def block(self) -> None:
        """From now on the database is away: connections are cut and refused."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
            self._path.unlink(missing_ok=True)
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _pass_on(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        passing = self._open
        self._writers.add(to_client)
        server, to_server = await asyncio.open_unix_connection(self._target)
        self._writers.add(to_server)
        await asyncio.gather(_copy(client, to_server, passing), _copy(server, to_client, passing))
        self._writers -= {to_client, to_server}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passing: asyncio.Event) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65536):
            if not passing.is_set():
                continue
            writer.write(chunk)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def way_to(server: URL, folder: Path) -> AsyncIterator[Way]:
    """`folder` must have a short path: that of a unix socket is limited to 107 bytes."""
    folder.mkdir()
    way = Way(server, folder)
    await way.unblock()
    try:
        yield way
    finally:
        await way.block()
