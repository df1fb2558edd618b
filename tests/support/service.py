"""A whole service inside the test's own loop: real HTTP over a real socket, a real PostgreSQL behind it."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import uvicorn
from pydantic import SecretStr

from mosic.blobs.identity import IDENTITY_NAME
from mosic.db.tables import metadata
from mosic.server.configuration import configuration
from mosic.server.orderly import OrderlyServer
from mosic.settings import Settings
from mosic.web.app import create_app

KEY = "test-key"
AUTH = {"X-API-Key": KEY}
# No test needs it, and to read all authorities for every client takes longer than most tests.
_TLS = ssl.create_default_context()


@dataclass
class Service:
    url: str
    port: int
    http: httpx.AsyncClient
    settings: Settings

    def files(self) -> list[Path]:
        """Every file that uploads have left, staged or published."""
        found = (path for path in self.settings.media_root.rglob("*") if path.is_file())
        return sorted(path for path in found if path.name != IDENTITY_NAME)

    async def empty(self) -> None:
        """Take away every clip and upload, without a word to the service."""
        database = self.settings.database_url_override
        assert database
        connection = await asyncpg.connect(database.get_secret_value())
        tables = (table.name for table in metadata.sorted_tables if table.name != "service")
        truncate = f"TRUNCATE {', '.join(tables)}"
        while True:
            # It locks one table after the other, and the service may be looking at two of them just now.
            with suppress(asyncpg.DeadlockDetectedError):
                await connection.execute(truncate)
                break
        await connection.close()
        for path in self.files():
            path.unlink()

    async def upload(self, path: Path, **fields: str) -> httpx.Response:
        return await self.http.post(
            "/play/upload", files={"file": (path.name, path.read_bytes())}, data=fields, headers=AUTH
        )

    async def metric(self, name: str) -> float:
        """The value of a series without labels, or with those given in the name."""
        lines = (await self.http.get("/metrics")).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))

    async def raw(self, request: bytes) -> bytes:
        """Send bytes as they are and read until the service closes (so ask it to)."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            await writer.drain()
            return await asyncio.wait_for(reader.read(), 60)
        finally:
            writer.close()


@asynccontextmanager
async def running_service(media_root: Path, database_url: str, **settings: Any) -> AsyncIterator[Service]:
    chosen = Settings(
        media_root=media_root,
        data_dir=media_root / "data",
        database_url_override=SecretStr(database_url),
        # Many tests send a Host of no meaning; those of tests/web/test_hosts.py are about it.
        # Where a test deletes a clip, it means so; tests/web/test_trash.py is about the trash. And what it
        # scrapes is of that moment.
        **{
            "api_key": KEY,
            "probe_workers": 1,
            "db_pool_size": 4,
            # As in tests/support/limits.py.
            "db_statement_seconds": 60,
            "play_wait_seconds": 60,
            "allowed_hosts": "*",
            "trash_days": 0,
            "metrics_cache_seconds": 0,
            # Tests count files; those of works say so.
            "works_at_once": 0,
            **settings,
        },
    )
    app = create_app(chosen)
    config = configuration(chosen, app, host="127.0.0.1", port=0)
    server = _Server(config)
    running = asyncio.create_task(_serve(server))
    while not server.started:
        if running.done():
            running.result()
            raise RuntimeError("the service did not start; its log says why")
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=60, verify=_TLS) as client:
            yield Service(url, port, client, chosen)
    finally:
        server.should_exit = True
        await running


class _Server(OrderlyServer):
    """That of `mosic serve`, as one of many in a process, and without what it waits for."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config, shutdown_seconds=2)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Without the look for garbage, which would go through all that the test run has."""
        await uvicorn.Server.startup(self, sockets=sockets)

    async def main_loop(self) -> None:
        """As it is, but looking ten times as often whether it has to end: a test should not wait for that."""
        for tick in itertools.count():
            if await self.on_tick(tick):
                break
            await asyncio.sleep(0.01)


async def _serve(server: uvicorn.Server) -> None:
    # `serve` would take over the signals of the test run.
    try:
        await server._serve()
    except SystemExit as error:  # which would end the test run, not the test
        raise RuntimeError("the service did not start; its log says why") from error


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def open_files(below: Path) -> list[str]:
    """What this process has open there, removed files too."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
        if path.startswith(f"{below}/"):
            found.append(path)
    return found
