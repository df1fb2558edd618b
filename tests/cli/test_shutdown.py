"""SIGTERM: what was begun is ended, what was promised is kept, and it takes no longer than it may."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import signal
import socket
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.cli.test_workers import AUTH, client, ended
from tests.support.house import KEY, House
from tests.support.load import EXPECTED, Ledger, Load
from tests.support.sounds import wav
from tests.support.waiting import until

BOTH = pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])


def large() -> bytes:
    """More than all the buffers between service and client hold."""
    return wav(0.2) + random.randbytes(24 * 1024 * 1024)


class Listener:
    """Asks for a stream over a socket of its own, and reads only when it is told to."""

    def __init__(self, url: str, clip_id: str) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60)
        self.socket.sendall(f"GET /play/{clip_id}/stream HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self.received = self.socket.recv(1024)

    def read_to_the_end(self) -> bytes:
        with contextlib.suppress(ConnectionResetError):
            while chunk := self.socket.recv(1 << 20):
                self.received += chunk
        self.socket.close()
        return self.received.partition(b"\r\n\r\n")[2]


async def refuses(url: str) -> bool:
    try:
        async with httpx.AsyncClient(timeout=60) as http:
            await http.get(f"{url}/health", timeout=60)
    except httpx.ConnectError:
        return True
    except httpx.TransportError:
        # The kernel had taken the connection, and nobody was there any more to take it from the kernel.
        return False
    return False


@BOTH
async def test_open_requests_end_and_new_ones_are_refused(house: House, workers: str) -> None:
    (house.folder / ".env").write_text("MOSIC_SHUTDOWN_SECONDS=60\n")
    service = house.start("serve", "--workers", workers)
    url = await house.url(service)
    content, late = large(), wav(seed=7)
    told = asyncio.Event()

    async def half_now() -> AsyncIterator[bytes]:
        yield late[: len(late) // 2]
        await told.wait()
        yield late[len(late) // 2 :]

    async with client(url) as http:
        clip = (await http.post("/play/upload", content=content)).json()
        listener = await asyncio.to_thread(Listener, url, clip["id"])
        uploading = asyncio.create_task(http.post("/play/upload", content=half_now()))
        await until(lambda: list(house.media.glob(".staging/*.part")))
        service.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            while not await refuses(url):
                await asyncio.sleep(0.05)
        assert service.poll() is None
        told.set()
        answer = await uploading
    assert answer.status_code == 201
    assert await asyncio.to_thread(listener.read_to_the_end) == content
    assert await ended(service) == 0
    assert not house.logged("requests were cut off")
    assert house.postgres() is None

    url = await house.url(house.start("serve"))
    async with client(url) as http:
        assert (await http.get(f"/play/{clip['id']}")).json()["play_count"] == 1
        assert (await http.get(f"/play/{answer.json()['id']}/stream")).content == late


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_time_is_over(house: House, workers: str) -> None:
    """A listener who does not read and an uploader who does not send do not keep it from ending."""
    (house.folder / ".env").write_text("MOSIC_SHUTDOWN_SECONDS=1\n")
    service = house.start("serve", "--workers", workers)
    url = await house.url(service)
    async with client(url) as http:
        clip = (await http.post("/play/upload", content=large())).json()
        listener = await asyncio.to_thread(Listener, url, clip["id"])
        parts = urlsplit(url)
        uploader = socket.create_connection((parts.hostname or "", parts.port or 0))
        fields = f"Host: localhost\r\nX-API-Key: {KEY}\r\nContent-Length: 9999"
        head = f"PUT /play/upload HTTP/1.1\r\n{fields}\r\n\r\nRIFF"
        uploader.sendall(head.encode())
        await until(lambda: list(house.media.glob(".staging/*.part")))
    service.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    assert await ended(service) == 0
    assert time.monotonic() - begun < 30
    assert house.logged("requests were cut off")
    assert "Traceback" not in house.log()
    assert house.postgres() is None
    assert not list(house.media.glob(".staging/*.part"))
    listener.socket.close()
    with uploader:
        # What it sent was in vain, and it is told so.
        assert uploader.recv(4096).startswith(b"HTTP/1.1 503 ")
    url = await house.url(house.start("serve"))
    async with client(url) as http:
        assert (await http.get(f"/play/{clip['id']}")).json()["play_count"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "number"), [("1", signal.SIGTERM), ("2", signal.SIGINT)])
async def test_second_signal_ends_at_once(house: House, workers: str, number: signal.Signals) -> None:
    (house.folder / ".env").write_text("MOSIC_SHUTDOWN_SECONDS=3600\n")
    service = house.start("serve", "--workers", workers)
    url = await house.url(service)
    async with client(url) as http:
        clip = (await http.post("/play/upload", content=large())).json()
        listener = await asyncio.to_thread(Listener, url, clip["id"])
    service.send_signal(number)
    await until(lambda: house.logged("stopping"))
    await asyncio.sleep(1.5)
    assert service.poll() is None
    service.send_signal(number)
    assert await ended(service) == 0
    assert house.postgres() is None
    listener.socket.close()
    url = await house.url(house.start("serve"))
    async with client(url) as http:
        assert (await http.get(f"/play/{clip['id']}")).json()["play_count"] == 1


@pytest.mark.slow
@BOTH
async def test_closed_terminal_ends_in_order(house: House, workers: str) -> None:
    service = house.start("serve", "--workers", workers)
    await house.url(service)
    service.send_signal(signal.SIGHUP)
    assert await ended(service) == 0
    assert len(house.logged("stopped")) == int(workers)
    assert house.postgres() is None


@pytest.mark.slow
@BOTH
async def test_nohup_is_heeded(house: House, workers: str) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        service = house.start("serve", "--workers", workers)
    finally:
        signal.signal(signal.SIGHUP, before)
    url = await house.url(service)
    service.send_signal(signal.SIGHUP)
    await asyncio.sleep(1)
    async with client(url) as http:
        assert (await http.get("/ready")).status_code == 200
    assert service.poll() is None
    assert not house.logged("stopping")


@pytest.mark.slow
async def test_second_signal_in_the_delay_ends_the_delay_alone(house: House) -> None:
    settings = "MOSIC_SHUTDOWN_SECONDS=600\nMOSIC_SHUTDOWN_DELAY_SECONDS=4\n"
    (house.folder / ".env").write_text(settings)
    service = house.start("serve")
    url = await house.url(service)
    content = large()
    async with client(url) as http:
        clip = (await http.post("/play/upload", content=content)).json()
        listener = await asyncio.to_thread(Listener, url, clip["id"])
    service.send_signal(signal.SIGTERM)
    await asyncio.sleep(1)
    service.send_signal(signal.SIGTERM)
    await until(lambda: house.logged("stopping"))
    # Until the delay would have been over.
    await asyncio.sleep(5)
    assert await asyncio.to_thread(listener.read_to_the_end) == content
    assert await ended(service) == 0
    assert not house.logged("requests were cut off")


@pytest.mark.slow
async def test_third_signal_does_not_wait_for_anything(house: House) -> None:
    (house.folder / ".env").write_text("MOSIC_SHUTDOWN_SECONDS=3600\n")
    service = house.start("serve")
    url = await house.url(service)
    async with client(url) as http:
        clip = (await http.post("/play/upload", content=large())).json()
        listener = await asyncio.to_thread(Listener, url, clip["id"])
    postgres = house.postgres()
    assert postgres
    # It cannot close without its database, and is not to wait for it.
    os.kill(postgres, signal.SIGSTOP)
    try:
        for _ in range(3):
            service.send_signal(signal.SIGTERM)
            await asyncio.sleep(1)
        assert await ended(service) in (0, -signal.SIGTERM)
    finally:
        os.kill(postgres, signal.SIGCONT)
    listener.socket.close()


async def restart_under_load(house: House, *, rounds: int, seed: int) -> None:
    """Whoever got an answer can rely on it: every upload is there, every play is counted."""
    ledger, rng, plays = Ledger(), random.Random(seed), 0
    (house.folder / ".env").write_text("MOSIC_SHUTDOWN_SECONDS=30\n")
    service = house.start("serve", "--workers", "2")
    async with client(await house.url(service)) as http:
        clip = (await http.post("/play/upload", content=wav(seed=99))).json()
        ledger.sent.add(clip["sha256"])
    for number in range(rounds):
        if number:
            service = house.start("serve", "--workers", rng.choice(["1", "2"]))
        url = await house.url(service)
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            heard = asyncio.create_task(play(http, clip["id"]))
            load = asyncio.create_task(Load(http, ledger, rng).run())
            await asyncio.sleep(rng.uniform(0.5, 1.5))
            service.send_signal(signal.SIGTERM)
            assert await ended(service) == 0
            await load
            plays += await heard
        assert not house.logged("requests were cut off")
        assert house.postgres() is None
    service = house.start("serve")
    async with client(await house.url(service)) as http:
        # More were counted: others listen too.
        assert (await http.get(f"/play/{clip['id']}")).json()["play_count"] >= plays
        there: dict[str, str] = {}
        following: str | None = "/play?limit=500"
        while following:
            answer = await http.get(following)
            there |= {one["id"]: one["sha256"] for one in answer.json()}
            following = answer.links["next"]["url"] if "next" in answer.links else None
        missing = ledger.promised.items() - there.items()
        assert not missing
        assert ledger.gone().isdisjoint(there)
        for clip_id in rng.sample(sorted(ledger.promised), min(20, len(ledger.promised))):
            content = (await http.get(f"/play/{clip_id}/stream")).content
            assert hashlib.sha256(content).hexdigest() == ledger.promised[clip_id]
    assert plays
    assert set(ledger.answers) <= EXPECTED


async def play(http: httpx.AsyncClient, clip_id: str) -> int:
    """How many were answered until nobody answers any more."""
    answered = 0
    with contextlib.suppress(httpx.TransportError):
        while True:
            answer = await http.get(f"/play/{clip_id}/stream", headers=AUTH)
            assert answer.status_code == 200
            answered += 1
    return answered


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_restart_under_load(house: House) -> None:
    await restart_under_load(house, rounds=10, seed=random.randrange(2**32))
