"""/metrics of `mosic serve --workers N`, while workers die."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.support.house import KEY, House
from tests.support.scraped import Scraped, scrape
from tests.support.sounds import wav

_SUMS = (
    "mosic_total_api_requests_total",
    "mosic_streams_total",
    "mosic_stream_bytes_total",
    "mosic_plays_total",
)


def workers_of(parent: int) -> list[int]:
    """The processes that serve: those children that hold a place in the metrics folder."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if _holds_a_place(int(child))]


def _holds_a_place(pid: int) -> bool:
    # A worker opens and closes files while we look, and one that ends has none to show.
    with contextlib.suppress(FileNotFoundError, PermissionError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                if "/worker_" in os.readlink(f"/proc/{pid}/fd/{descriptor}"):
                    return True
    return False


async def until_ready(http: httpx.AsyncClient) -> None:
    """The greeting of several workers comes before the first of them listens."""
    async with asyncio.timeout(120):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await http.get("/ready")).status_code == 200:
                    return
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_sums_are_whole_and_never_go_backwards_while_workers_are_killed(short_tmp: Path) -> None:
    folder = short_tmp / f"workers-{os.urandom(4).hex()}"
    folder.mkdir()
    kills = 3
    house = House(folder, MOSIC_METRICS_REFRESH_SECONDS="0.5")
    try:
        service = house.start("serve", "--workers", "2")
        url = await house.url(service)
        # A connection each time, so that whichever worker takes it is asked.
        fresh = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=fresh) as http:
            await until_ready(http)
            clip = (await http.post("/play/upload", content=wav(), headers={"X-API-Key": KEY})).json()
            seen: list[Scraped] = []
            answered: Counter[int] = Counter()
            stop = asyncio.Event()

            async def listen() -> None:
                while not stop.is_set():
                    try:
                        answer = await http.get(f"/play/{clip['id']}/stream")
                        answered[answer.status_code] += 1
                    except httpx.TransportError:
                        answered[0] += 1

            async def watch() -> None:
                while not stop.is_set():
                    try:
                        seen.append(await scrape(http))
                    except httpx.TransportError:
                        continue

            tasks = [asyncio.create_task(work()) for work in (listen, listen, watch)]
            for _ in range(kills):
                before = answered[200]
                deadline = time.monotonic() + 120
                while len(workers := workers_of(service.pid)) < 2 or answered[200] < before + 50:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.05)
                os.kill(workers[0], signal.SIGKILL)
                while set(workers_of(service.pid)) <= set(workers) - {workers[0]}:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.05)
            stop.set()
            await asyncio.gather(*tasks)
            deadline = time.monotonic() + 120
            while (last := await scrape(http)).value("mosic_workers") < 2:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)

            for _ in range(4):
                assert (await scrape(http)).value("mosic_streams_total") == last.value("mosic_streams_total")
        for name in _SUMS:
            values = [found.total(name) for found in seen]
            assert values == sorted(values), name
        assert set(answered) <= {200, 0}
        streams = last.value("mosic_streams_total")
        # Missing is at most what a kill met between the last byte and the count, one for each listener; what
        # was cut off by a kill may or may not have been counted.
        assert answered[200] - 2 * kills <= streams <= answered[200] + answered[0]
        assert last.value("mosic_active_streams") == 0
        assert last.total("mosic_streams_ended_total", outcome="complete") == streams
        assert last.value("mosic_uploads_total", outcome="created") == 1
        assert last.value("mosic_database_up") == 1
        service.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(service.wait, 120) == 0
    finally:
        house.end()
