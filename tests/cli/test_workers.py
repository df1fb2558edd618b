"""Several workers as real processes: they share, are replaced when they die, and end in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.house import KEY, House
from tests.support.processes import is_running
from tests.support.sounds import wav
from tests.support.waiting import until

AUTH = {"X-API-Key": KEY}


def workers(house: House) -> set[int]:
    """Pids of those that were started and have not ended."""
    started = {entry["worker"] for entry in house.logged("worker started")}
    return started - {entry["worker"] for entry in house.logged("worker ended")}


async def ended(process: subprocess.Popen[bytes]) -> int:
    return await asyncio.to_thread(process.wait, 60)


@contextlib.asynccontextmanager
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=60, headers=AUTH) as http:
        yield http


async def test_dead_worker_is_replaced_and_nothing_else_stops(house: House) -> None:
    service = house.start("serve", "--workers", "2")
    url = await house.url(service)
    first = workers(house)
    assert len(first) == 2
    async with client(url) as http:
        clip = (await http.post("/play/upload", content=wav())).json()
        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        for _ in range(20):
            # Of a new connection each time: one that the dead worker had is of no use.
            with contextlib.suppress(httpx.TransportError):
                async with client(url) as one:
                    assert (await one.get(f"/play/{clip['id']}/stream")).content == wav()
        await until(lambda: len(workers(house)) == 2 and victim not in workers(house))
        (successor,) = workers(house) - first
        # It comes to serve.
        await until(lambda: len(list(Path(f"/proc/{successor}/fd").iterdir())) > 10)
        assert service.poll() is None
        assert (await http.get("/ready")).status_code == 200
    postgres = house.postgres()
    assert postgres
    service.send_signal(signal.SIGTERM)
    assert await ended(service) == 0
    await until(lambda: not is_running(postgres))
    assert not any(is_running(pid) for pid in first | {successor})


@pytest.mark.slow
async def test_worker_that_is_told_to_end_is_replaced(house: House) -> None:
    service = house.start("serve", "--workers", "2")
    await house.url(service)
    first = workers(house)
    os.kill(min(first), signal.SIGTERM)
    await until(lambda: workers(house) - first)
    assert [entry["status"] for entry in house.logged("worker ended")] == [0]
    service.send_signal(signal.SIGTERM)
    assert await ended(service) == 0


@pytest.mark.slow
async def test_workers_end_when_the_first_process_is_killed(house: House) -> None:
    """Otherwise they would hold the address, and the next start could not have it."""
    service = house.start("serve", "--workers", "2")
    await house.url(service)
    first, postgres = workers(house), house.postgres()
    os.kill(service.pid, signal.SIGKILL)
    await ended(service)
    await until(lambda: not any(is_running(pid) for pid in first))
    await until(lambda: postgres is None or not is_running(postgres))


@pytest.mark.slow
async def test_ctrl_c_in_a_terminal_reaches_all_and_is_one_signal(house: House) -> None:
    service = house.start("serve", "--workers", "2")
    await house.url(service)
    os.killpg(service.pid, signal.SIGINT)
    assert await ended(service) == 0
    assert not house.logged("requests were cut off")
    assert len(house.logged("stopped")) == 2


@pytest.mark.slow
async def test_start_that_fails_ends_with_a_status(house: House) -> None:
    (house.folder / ".env").write_text("MOSIC_POSTGRES_BIN=/nowhere\n")
    service = house.start("serve", "--workers", "2")
    assert await ended(service) == 3
    assert "MOSIC_POSTGRES_BIN" in house.log()
    assert "Traceback" not in house.log()
