"""Listeners who are slow, silent or gone, and a store that fails them."""

from __future__ import annotations

import asyncio
import gc
import os
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support.databases import shown
from tests.support.exchange import exchange, first_answer, head
from tests.support.listeners import CONTENT, Listener, active, add_large, nothing_left
from tests.support.service import AUTH, Service, open_files, running_service
from tests.support.waiting import until


@pytest.fixture
def service(own_service: Service) -> Service:
    """One for each test, whose metrics begin at nothing."""
    return own_service


@pytest.fixture
async def path(service: Service) -> str:
    return await add_large(service)


async def test_who_reads_nothing_costs_no_more_than_a_piece(service: Service, path: str) -> None:
    count = 40
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        listeners = [await Listener.asking(service, path) for _ in range(count)]

        async def all_wait() -> bool:
            return await active(service) == count

        await until(all_wait)
        await asyncio.sleep(0.5)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A piece of 256 KiB at most, once more in asyncio's own buffer, and what a connection and its task take.
    assert (after - before) / count < 640 * 1024
    for listener in listeners:
        listener.reset()


async def test_a_slow_listener_gets_every_byte_and_holds_nobody_up(service: Service, path: str) -> None:
    slow = [await Listener.asking(service, path, "Range: bytes=0-299999") for _ in range(20)]

    async def read_slowly(listener: Listener) -> None:
        # 10 KB a second.
        for _ in range(20):
            await listener.read(1000)
            await asyncio.sleep(0.1)

    reading = asyncio.gather(*(read_slowly(listener) for listener in slow))
    for _ in range(3):
        whole = await service.http.get(path)
        assert whole.content == CONTENT
    await reading
    for listener in slow:
        answer, rest = first_answer(await listener.read_to_the_end(), to_head=False)
        assert (answer.status, answer.body, rest) == (206, CONTENT[:300_000], b"")


async def test_who_leaves_midway_leaves_nothing(service: Service, path: str) -> None:
    async with nothing_left(service):
        listeners = [await Listener.asking(service, path) for _ in range(30)]
        for number, listener in enumerate(listeners):
            for _ in range(number % 4):
                await listener.read(50_000)
            listener.reset()
    sent = await service.metric("mosic_stream_bytes_total")
    assert sent < 30 * len(CONTENT) / 2


async def test_who_leaves_before_the_first_byte_leaves_nothing(service: Service, path: str) -> None:
    async with nothing_left(service):
        for number in range(100):
            lines = () if number % 2 else ("Range: bytes=0-65535",)
            (await Listener.asking(service, path, *lines)).reset()


async def test_who_leaves_with_another_request_waiting_is_missed_too(service: Service, path: str) -> None:
    """uvicorn tells of the end only the request that came last."""
    async with nothing_left(service):
        for _ in range(5):
            ahead = head("GET", path, "Range: bytes=0-9")
            listener = await Listener.asking(service, path, ahead=ahead)
            await listener.read(10_000)
            listener.reset()
    # What their sockets took, and not all five to the end.
    assert await service.metric("mosic_stream_bytes_total") < 5 * len(CONTENT) / 2


async def test_a_clip_deleted_meanwhile_is_heard_to_its_end(service: Service, path: str) -> None:
    listeners = [await Listener.asking(service, path) for _ in range(5)]
    for listener in listeners:
        await listener.read(1000)
    gone = await service.http.delete(path.removesuffix("/stream"), headers=AUTH)
    assert gone.status_code == 204
    assert (await service.http.get(path)).status_code == 404
    assert service.files() == []
    for listener in listeners:
        answer, _ = first_answer(await listener.read_to_the_end(), to_head=False)
        assert answer.body == CONTENT

    # Its file is not kept for a next listener, and so its room on the disk is free.
    async def closed() -> bool:
        return open_files(service.settings.media_root) == []

    await until(closed)


async def test_bytes_that_are_not_there_are_told_before_the_first(service: Service, path: str) -> None:
    (file,) = service.files()
    os.truncate(file, len(CONTENT) - 1)
    short = await service.http.get(path)
    assert (short.status_code, short.json()["code"]) == (500, "blob-missing")
    file.unlink()
    missing = await service.http.get(path, headers={"Range": "bytes=5-"})
    assert (missing.status_code, missing.json()["code"]) == (500, "blob-missing")
    assert missing.headers["content-type"] == "application/problem+json"
    assert str(service.settings.media_root) not in missing.text
    assert await service.metric('mosic_errors_total{code="blob-missing"}') == 2
    assert await active(service) == 0


@pytest.mark.parametrize("asked", [(), ("Range: bytes=100-199",)])
async def test_a_medium_that_fails_at_once_is_a_problem(
    service: Service, path: str, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...]
) -> None:
    fail_reading(monkeypatch, at=0)
    answer = await exchange(service.port, head("GET", path, *asked))
    assert answer.status == 500
    assert b"internal-error" in answer.body
    assert b"Input/output" not in answer.body


async def test_a_medium_that_fails_midway_cuts_the_answer(
    service: Service, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else would tell the client that what it has is not all."""
    fail_reading(monkeypatch, at=1_000_000)
    async with nothing_left(service):
        received = await service.raw(head("GET", path, closing=False))
        raw_head, _, body = received.partition(b"\r\n\r\n")
        assert raw_head.startswith(b"HTTP/1.1 200 ")
        assert len(body) < 2_000_000
        assert CONTENT.startswith(body)


def fail_reading(monkeypatch: pytest.MonkeyPatch, *, at: int) -> None:
    def failing(read: Callable[..., object], start_at: int) -> Callable[..., object]:
        def fail(*arguments: object) -> object:
            start = arguments[start_at]
            assert isinstance(start, int)
            if start >= at:
                raise OSError(5, "Input/output error")
            return read(*arguments)

        return fail

    monkeypatch.setattr(os, "preadv", failing(os.preadv, 2))
    monkeypatch.setattr(os, "pread", failing(os.pread, 2))


async def test_no_connection_to_the_database_is_held_while_bytes_flow(
    tmp_path: Path, own_database_url: URL
) -> None:
    async with running_service(tmp_path / "media", shown(own_database_url), db_pool_size=1) as service:
        path = await add_large(service)
        clip = path.removesuffix("/stream")
        watching = create_async_engine(own_database_url)
        count = (
            "SELECT count(*), count(*) FILTER (WHERE state <> 'idle') FROM pg_stat_activity WHERE datname = "
        )
        statement = sa.text(f"{count} current_database() AND pid <> pg_backend_pid()")
        async with watching.connect() as connection:
            before = (await connection.execute(statement)).one()[0]
            listeners = [await Listener.asking(service, path) for _ in range(50)]
            for listener in listeners:
                assert await listener.read(1000)
            assert await active(service) == 50
            for _ in range(20):
                assert (await service.http.get("/play")).status_code == 200
                edit = await service.http.patch(clip, json={"title": f"{time.time()}"}, headers=AUTH)
                assert edit.status_code == 200
            assert (await connection.execute(statement)).one() == (before, 0)
        await watching.dispose()
        for listener in listeners:
            listener.reset()


async def test_stopping_waits_for_listeners_only_for_so_long(tmp_path: Path, database_url: URL) -> None:
    """The test's service gives them 2 s; the rest is for closing everything."""
    async with running_service(tmp_path / "media", shown(database_url)) as service:
        path = await add_large(service)
        listeners = [await Listener.asking(service, path) for _ in range(10)]
        for listener in listeners:
            assert await listener.read(1000)
    # They see that it is not all.
    for listener in listeners:
        with suppress(ConnectionResetError):
            assert len(await listener.read_to_the_end()) < len(CONTENT)
    assert open_files(tmp_path / "media") == []
