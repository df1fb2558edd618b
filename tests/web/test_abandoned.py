"""Clients that go away in the middle of everything leave nothing behind."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import URL

from tests.support.databases import shown
from tests.support.resets import reset
from tests.support.scraped import scrape
from tests.support.service import AUTH, KEY, Service, running_service
from tests.support.sounds import wav

_AT_ONCE = 40


def requests(clip: str) -> list[bytes]:
    """All kinds of work, none of which is ever waited for."""
    key = f"X-API-Key: {KEY}\r\n".encode()
    line = b" HTTP/1.1\r\nHost: mosic\r\n"
    content = wav(0.1)
    return [
        b"GET /play?limit=500" + line + b"\r\n",
        b"GET /play/" + clip.encode() + b"/stats" + line + b"\r\n",
        b"GET /play/" + clip.encode() + b"/stream" + line + b"\r\n",
        b"GET /play/" + clip.encode() + b"/stream" + line + b"Range: bytes=9-\r\n\r\n",
        b"PATCH /play/" + clip.encode() + line + key + b'Content-Length: 14\r\n\r\n{"title": "x"}',
        b"POST /play/upload" + line + key + b"Content-Type: audio/wav\r\n"
        b"Content-Length: %d\r\n\r\n" % len(content) + content,
        b"POST /play/uploads" + line + key + b"Tus-Resumable: 1.0.0\r\nUpload-Length: 9\r\n\r\n",
        b"GET /ready" + line + b"\r\n",
    ]


async def abandon(port: int, request: bytes, chance: random.Random) -> None:
    """Send it, or a part of it, look at what comes or not, and cut the connection."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    part = request if chance.random() < 0.7 else request[: chance.randrange(len(request))]
    writer.write(part)
    await asyncio.sleep(chance.choice((0, 0, 0.001, 0.005, 0.02)))
    reset(writer)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [80, pytest.param(1000, marks=pytest.mark.slow)])
async def test_requests_cut_off_leave_no_connection_in_use(
    tmp_path: Path, database_url: URL, count: int
) -> None:
    watching = await asyncpg.connect(
        host=database_url.host,
        port=database_url.port,
        user=database_url.username,
        database=database_url.database,
    )

    async def open_in_database() -> int:
        number = await watching.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name = 'mosic' AND state <> 'idle'"
        )
        return int(number)

    chance = random.Random(32)
    async with running_service(tmp_path / "media", shown(database_url)) as service:
        content = wav(1.0, rate=2_000_000)
        clip = (await service.http.post("/play/upload", content=content, headers=AUTH)).json()
        kinds = requests(clip["id"])
        for _ in range(count // _AT_ONCE):
            await asyncio.gather(
                *(abandon(service.port, chance.choice(kinds), chance) for _ in range(_AT_ONCE))
            )
        await settled(service)
        deadline = time.monotonic() + 60
        while await open_in_database():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        # All of the pool can be had at once.
        lists = await asyncio.gather(*(service.http.get("/play") for _ in range(8)))
        assert [answer.status_code for answer in lists] == [200] * 8
    await watching.close()


async def settled(service: Service) -> None:
    deadline = time.monotonic() + 60
    while True:
        found = await scrape(service.http)
        left = {
            name: found.value(name)
            for name in (
                "mosic_active_streams",
                "mosic_database_connections_in_use",
                "mosic_database_waiting",
                "mosic_plays_waiting",
            )
        }
        if not any(left.values()):
            return
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.1)
