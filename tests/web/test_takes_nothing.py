"""Clients that ask and then take nothing of the answer: each would cost a descriptor and memory for ever."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.support.databases import shown
from tests.support.exchange import first_answer, head
from tests.support.listeners import CONTENT, Listener, active, add_large, nothing_left
from tests.support.service import Service, open_descriptors, running_service
from tests.support.waiting import until

PATIENCE = 2.0


@pytest.fixture
async def service(tmp_path: Path, database_url: URL) -> AsyncIterator[Service]:
    async with running_service(
        tmp_path / "media", shown(database_url), answer_idle_seconds=PATIENCE
    ) as running:
        yield running


async def test_who_takes_nothing_of_a_stream_is_cut_off(service: Service) -> None:
    path = await add_large(service)
    async with nothing_left(service):
        listeners = [await Listener.asking(service, path) for _ in range(10)]

        async def all_listen() -> bool:
            return await active(service) == len(listeners)

        await until(all_listen)

        async def nobody_listens() -> bool:
            return await active(service) == 0

        await until(nobody_listens)
    for listener in listeners:
        # What was on its way; they see that it is not all.
        assert 0 < len(await listener.read_to_the_end()) < len(CONTENT)


async def test_who_takes_little_is_not(service: Service) -> None:
    path = await add_large(service)
    listener = await Listener.asking(service, path, "Range: bytes=0-1999999")
    # 20 KB a second: far less in the time than the kernel has to be rid of before it takes more.
    for _ in range(40):
        await listener.read(4000)
        await asyncio.sleep(0.2)
    answer, rest = first_answer(await listener.read_to_the_end(), to_head=False)
    assert (answer.status, answer.body, rest) == (206, CONTENT[:2_000_000], b"")


@pytest.mark.parametrize("size", [50_000, 120_000])
async def test_who_takes_nothing_of_short_answers_is_cut_off(service: Service, size: int) -> None:
    path = await add_large(service)
    request = head("GET", path, f"Range: bytes=0-{size - 1}", closing=False)
    gc.collect()  # what earlier tests have left may hold descriptors
    before = open_descriptors()
    count = 12_000_000 // size
    listener = await Listener.asking(service, path, "Range: bytes=-1", ahead=count * request)

    async def only_this_side_is_open() -> bool:
        return open_descriptors() <= before + 1

    await asyncio.sleep(PATIENCE / 2)
    assert not await only_this_side_is_open()
    await until(only_this_side_is_open)
    assert len(await listener.read_to_the_end()) < count * size


async def test_a_connection_goes_on_when_all_was_taken(service: Service) -> None:
    path = await add_large(service)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    for _ in range(3):
        writer.write(head("GET", path, closing=False))
        received = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        assert received.startswith(b"HTTP/1.1 200 ")
        await asyncio.sleep(PATIENCE / 4)
        assert await asyncio.wait_for(reader.readexactly(len(CONTENT)), 60) == CONTENT
        await asyncio.sleep(PATIENCE * 1.5)
    writer.close()
