"""A database that is gone without a word: no packet comes back, no connection is refused or reset."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import URL

from tests.support.databases import Way, shown, way_to
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav

# A TCP connection says nothing for a quarter of an hour; what is asked for here is seconds.
PATIENCE = 60.0
pytestmark = pytest.mark.usefixtures("impatient_with_the_database")
POOL = 4


@pytest.fixture
async def way(short_tmp: Path, own_database_url: URL) -> AsyncIterator[Way]:
    async with way_to(own_database_url, short_tmp / f"way-{os.urandom(4).hex()}") as way:
        yield way


async def warmed(service: Service) -> httpx.Response:
    """A clip that was listened to, and a pool full of connections."""
    made = await service.http.post("/play/upload", content=wav(), headers=AUTH)
    assert (await service.http.get(made.json()["stream_url"])).status_code == 200
    await asyncio.gather(*(service.http.get("/play") for _ in range(3 * POOL)))
    return made


async def works_again(service: Service) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await service.http.get("/play")).status_code != 200:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("idle", [0.0, pytest.param(1.2, marks=pytest.mark.slow)], ids=["just used", "idle"])
async def test_everybody_is_answered_and_new_connections_serve(tmp_path: Path, way: Way, idle: float) -> None:
    async with running_service(
        tmp_path / "media", way.url, db_pool_size=POOL, db_statement_seconds=1, play_wait_seconds=1
    ) as service:
        clip = (await warmed(service)).json()
        await asyncio.sleep(idle)
        await way.swallow()
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            answers = await asyncio.gather(
                *(service.http.get("/play", timeout=PATIENCE) for _ in range(5 * POOL)),
                service.http.post("/play/upload", content=wav(seed=1), headers=AUTH, timeout=PATIENCE),
                service.http.patch(
                    f"/play/{clip['id']}", json={"title": "x"}, headers=AUTH, timeout=PATIENCE
                ),
            )
        assert {answer.status_code for answer in answers} == {503}, time.monotonic() - began
        assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
        ready = (await service.http.get("/ready", timeout=PATIENCE)).json()
        assert (ready["status"], ready["failed"]) == (503, ["database"])
        # Who listens does not notice.
        assert (await service.http.get(clip["stream_url"], timeout=PATIENCE)).content == wav()
        await way.pass_new_ones()
        await works_again(service)
        async with asyncio.timeout(PATIENCE):
            while (await service.http.get(f"/play/{clip['id']}/stats")).json()["play_count"] != 2:
                await asyncio.sleep(0.05)
        assert (await service.http.get("/ready")).status_code == 200


async def test_slots_are_free_when_their_clients_have_gone(tmp_path: Path, way: Way) -> None:
    async with running_service(
        tmp_path / "media", way.url, db_pool_size=POOL, db_statement_seconds=1, play_wait_seconds=1
    ) as service:
        await warmed(service)
        await way.swallow()
        for _ in range(3 * POOL):
            with pytest.raises(httpx.TimeoutException):
                await service.http.get("/play", timeout=0.05)
        await way.pass_new_ones()
        await works_again(service)
        answers = await asyncio.gather(*(service.http.get("/play") for _ in range(3 * POOL)))
        assert {answer.status_code for answer in answers} == {200}


@pytest.mark.slow
async def test_it_ends_whatever_hangs(tmp_path: Path, way: Way) -> None:
    async with asyncio.timeout(PATIENCE):
        async with running_service(
            tmp_path / "media", way.url, db_pool_size=POOL, db_statement_seconds=600, play_wait_seconds=1
        ) as service:
            clip = (await warmed(service)).json()
            await way.swallow()
            hanging = [asyncio.create_task(service.http.get("/play")) for _ in range(2 * POOL)]
            assert (await service.http.get(clip["stream_url"])).status_code == 200
        await asyncio.gather(*hanging, return_exceptions=True)


@pytest.mark.slow
async def test_plays_are_not_lost_at_the_end_over_a_connection_that_died(
    tmp_path: Path, way: Way, own_database_url: URL, caplog: pytest.LogCaptureFixture
) -> None:
    """The database is there, and only the connection that plays are written over is dead."""
    async with running_service(
        tmp_path / "media", way.url, db_pool_size=POOL, db_statement_seconds=600, play_wait_seconds=0.1
    ) as service:
        clip = (await warmed(service)).json()
        await way.swallow()
        assert (await service.http.get(clip["stream_url"])).status_code == 200
        await way.pass_new_ones()
    assert "plays lost" not in caplog.text
    async with running_service(tmp_path / "media", shown(own_database_url)) as service:
        assert (await service.http.get(f"/play/{clip['id']}/stats")).json()["play_count"] == 2
