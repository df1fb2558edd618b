"""What frames a body is bounded as the head is: trailers, chunk extensions, the digits of chunk sizes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from mosic.postgres import EmbeddedPostgres
from mosic.server.limits import MAX_HEAD_SIZE
from tests.support.exchange import Answer, first_answer, head
from tests.support.loops import LOOPS, service_on
from tests.support.service import KEY
from tests.support.sounds import wav

SONG = wav(0.5)
AUTH = f"X-API-Key: {KEY}"
PIECE = 16 * 1024


@pytest.fixture(scope="module", params=LOOPS)
async def url(
    request: pytest.FixtureRequest, short_tmp: Path, postgres: EmbeddedPostgres
) -> AsyncIterator[str]:
    async with service_on(request.param, short_tmp / "framing", postgres) as found:
        yield found


async def answered(url: str, start: bytes, endless: bytes) -> Answer:
    """The response to `start` with what has no end behind it. The service then closes the connection, as the
    sender finds out."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)

    async def send() -> None:
        writer.write(start)
        try:
            while True:
                writer.write(endless * (PIECE // len(endless)))
                await writer.drain()
        except ConnectionError:
            pass

    sending = asyncio.create_task(send())
    try:
        received = await asyncio.wait_for(reader.readuntil(b"}\n"), 60)
        await asyncio.wait_for(sending, 60)
    finally:
        sending.cancel()
        writer.close()
    return first_answer(received, to_head=False)[0]


ENDLESS = [
    (b"0\r\n", b"X-Trailer: x\r\n"),
    (b"0\r\nX-Trailer: ", b"x"),
    (b"0\r\n", b"x"),
    (b"0;", b"x"),
    (b"3;x=", b"y"),
    (b"", b"0"),
    (b"0\r\nX: y", b" "),
]


async def test_framing_without_end_is_refused(url: str) -> None:
    """All at once: after each response the service listens for a while, until the sender has read it."""
    start = head("PUT", "/play/upload/a.wav", AUTH, "Transfer-Encoding: chunked", closing=False)
    cases = [(first + begun, endless) for begun, endless in ENDLESS for first in (b"", b"4\r\nRIFF\r\n")]
    answers = await asyncio.gather(*(answered(url, start + begun, endless) for begun, endless in cases))
    for case, answer in zip(cases, answers, strict=True):
        assert (answer.status, json.loads(answer.body)["code"]) == (431, "head-too-large"), case


async def test_a_route_that_reads_no_body_ends_its_connection_as_well(url: str) -> None:
    start = head("GET", "/health", "Transfer-Encoding: chunked", closing=False)
    assert (await answered(url, start + b"0\r\nX: ", b"x")).status in (200, 431)


async def test_trailers_up_to_the_limit_are_dropped_however_they_come(url: str) -> None:
    start = head("PUT", "/play/upload/a.wav", AUTH, "Transfer-Encoding: chunked")
    body = b"%x\r\n%s\r\n0\r\n" % (len(SONG), SONG)
    trailer = b"X-Trailer: xx\r\n"
    for count, status in (
        ((MAX_HEAD_SIZE - 1000) // len(trailer), (200, 201)),
        (MAX_HEAD_SIZE // 15 + 1, (431,)),
    ):
        for pause in (0.0, 0.02):
            reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
            try:
                writer.write(start + body)
                await asyncio.sleep(pause)
                for _ in range(4):
                    writer.write(trailer * (count // 4))
                    await asyncio.sleep(pause)
                writer.write(trailer * (count % 4) + b"\r\n")
                answer, _ = first_answer(await asyncio.wait_for(reader.read(), 60), to_head=False)
            finally:
                writer.close()
            assert answer.status in status


async def test_a_body_may_come_in_chunks_of_one_byte(url: str) -> None:
    song = wav(8)
    chunks = b"".join(b"00001;a=bcd\r\n%c\r\n" % byte for byte in song)
    assert len(chunks) > 20 * MAX_HEAD_SIZE
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        request = head("PUT", "/play/upload/a.wav", AUTH, "Transfer-Encoding: chunked")
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(request + chunks + b"0\r\n\r\n")
        answer, _ = first_answer(await asyncio.wait_for(reader.read(), 60), to_head=False)
        writer.close()
        assert answer.status == 201
        stream = await http.get(f"/play/{json.loads(answer.body)['id']}/stream")
        assert stream.content == song
