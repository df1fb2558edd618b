"""A service on uvloop, which is the loop of the tests and of `mosic serve`, or on that of asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mosic.postgres import EmbeddedPostgres
from tests.support.databases import empty_database
from tests.support.service import running_service

LOOPS = ("asyncio", "uvloop")


@asynccontextmanager
async def service_on(loop: str, folder: Path, postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """Gives its URL; the key is `tests.support.service.KEY`."""
    folder = folder / loop
    folder.mkdir(parents=True)
    async with empty_database(postgres) as database, url_on(loop, folder / "media", database) as url:
        yield url


@asynccontextmanager
async def url_on(loop: str, media: Path, database_url: str, **settings: Any) -> AsyncIterator[str]:
    """As `running_service`."""
    if loop == "uvloop":
        async with running_service(media, database_url, **settings) as service:
            yield service.url
        return

    started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        end = asyncio.Event()
        async with running_service(media, database_url, **settings) as service:
            started.set_result((service.url, asyncio.get_running_loop(), end))
            await end.wait()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(serve())
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            raise

    thread = asyncio.ensure_future(asyncio.to_thread(run))
    url, its_loop, end = await asyncio.wrap_future(started)
    try:
        yield url
    finally:
        its_loop.call_soon_threadsafe(end.set)
        await thread
