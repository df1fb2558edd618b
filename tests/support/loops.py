"""A service on a loop by name: asyncio's own in the process of the tests, uvloop in `mosic serve`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mosic.postgres import EmbeddedPostgres
from tests.support.databases import empty_database
from tests.support.house import House
from tests.support.service import KEY, running_service

LOOPS = ("asyncio", "uvloop")


@asynccontextmanager
async def service_on(loop: str, folder: Path, postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """Gives its URL; the key is `tests.support.service.KEY`."""
    folder = folder / loop
    folder.mkdir(parents=True)
    if loop == "asyncio":
        async with (
            empty_database(postgres) as database,
            running_service(folder / "media", database) as service,
        ):
            yield service.url
    else:
        house = House(folder, MOSIC_API_KEY=KEY)
        try:
            yield await house.url(house.start("serve"))
        finally:
            house.end()
