"""Requests whose head does not come, or comes byte by byte (slow loris)."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from mosic.settings.timings import Timings
from tests.support.databases import shown
from tests.support.exchange import first_answer
from tests.support.service import KEY, Service, running_service
from tests.support.sounds import wav

HEAD = b"GET /health HTTP/1.1\r\nHost: mosic\r\n"
BROKEN = (
    b"POST /play/upload HTTP/1.1\r\nHost: mosic\r\nX-API-Key: %s\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nno length\r\n" % KEY.encode()
)


_SECONDS = 3.0


@pytest.fixture
def linger() -> float:
    """How long a refused client may go on sending."""
    return Timings().linger


@pytest.fixture
async def service(tmp_path: Path, database_url: URL, linger: float) -> AsyncIterator[Service]:
    """One that is impatient, yet gives heads that are sent at once time enough on a busy machine."""
    async with running_service(
        tmp_path / "media", shown(database_url), timings=Timings(head=_SECONDS, linger=linger)
    ) as running:
        yield running


async def dribble(writer: asyncio.StreamWriter) -> None:
    """Now and then a byte of a header that never ends."""
    writer.write(HEAD + b"X-Slow: ")
    try:
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)
    except ConnectionError:
        pass


def assert_refused(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] == "head-stalled"


async def test_a_head_that_comes_byte_by_byte_is_refused(service: Service) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    sending = asyncio.create_task(dribble(writer))
    assert_refused(await asyncio.wait_for(reader.read(), 60))
    await sending
    writer.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (HEAD + b"X-Large: " + b"x" * 8_000_000, b"431"),
        (b"NO METHOD OF HTTP\r\n" * 400_000, b"400"),
        (
            b"POST /play/upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n"
            + bytes(8_000_000),
            b"400",
        ),
    ],
)
async def test_who_sends_on_and_reads_late_gets_the_refusal_and_no_reset(
    service: Service, request_: bytes, status: bytes
) -> None:  # RFC 9112 §9.6
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    for start in range(0, len(request_), 1_000_000):
        writer.write(request_[start : start + 1_000_000])
        await writer.drain()
        await asyncio.sleep(0.02)
    answer = await asyncio.wait_for(reader.read(), 60)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.count(b"HTTP/1.1") == 1
    writer.close()


@pytest.mark.parametrize("linger", [0.2])
async def test_who_stays_after_a_refusal_is_closed(service: Service) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(b"NO METHOD OF HTTP\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 400 ")
    await asyncio.wait_for(dribble(writer), 60)


async def test_an_answer_is_whole_before_the_next_request_is_refused(service: Service) -> None:
    song = wav(20, rate=44_100)
    headers = {"X-API-Key": KEY}
    made = (await service.http.post("/play/upload", content=song, headers=headers)).json()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    listening = b"GET /play/%s/stream HTTP/1.1\r\nHost: mosic\r\n\r\n" % made["id"].encode()
    writer.write(listening + BROKEN)
    await asyncio.sleep(0.5)
    streamed, rest = first_answer(await asyncio.wait_for(reader.read(), 60), to_head=False)
    assert streamed.body == song
    refused, rest = first_answer(rest, to_head=False)
    assert (refused.status, json.loads(refused.body)["code"]) == (400, "malformed-request")
    assert rest == b""
    writer.close()


async def counted(service: Service, code: str) -> int:
    found = re.search(
        rf'mosic_errors_total{{code="{code}"}} ([0-9]+)', (await service.http.get("/metrics")).text
    )
    return int(found[1]) if found else 0


async def pieces(service: Service, *sent: bytes) -> list[int]:
    """The status of each answer to what is sent with pauses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    for piece in sent:
        writer.write(piece)
        await asyncio.sleep(0.2)
    received = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([2-5][0-9]{2}) ", received)]


async def test_one_refusal_behind_answers_that_are_quick(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    before = await counted(service, "malformed-request")
    assert await pieces(service, (HEAD + b"\r\n") * 2 + b"\0BAD\r\n\r\n") == [200, 200, 400]
    assert await counted(service, "malformed-request") == before + 1
    assert "Exception" not in caplog.text


async def test_nobody_is_told_to_continue_with_a_broken_body(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    head, _, body = BROKEN.partition(b"\r\n\r\n")
    assert await pieces(service, head + b"\r\nExpect: 100-continue\r\n\r\n" + body) == [400]
    assert "unexpected error" not in caplog.text


async def test_what_comes_behind_a_body_that_nobody_wanted_is_refused(service: Service) -> None:
    unwanted = b"GET /play/zzz/stream HTTP/1.1\r\nHost: mosic\r\nContent-Length: 5\r\n\r\n"
    assert await pieces(service, unwanted, b"hello", b"\0BAD\r\n\r\n") == [404, 400]


@pytest.mark.parametrize("linger", [0.3])
async def test_long_answers_are_taken_whole_before_the_refusal(service: Service) -> None:
    song = wav(1.0, rate=4_000_000)
    made = (await service.http.post("/play/upload", content=song, headers={"X-API-Key": KEY})).json()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=65536)
    writer.write(b"GET /play/%s/stream HTTP/1.1\r\nHost: mosic\r\n\r\n\0BAD" % made["id"].encode())
    sending = asyncio.create_task(dribble(writer))
    received = b""
    while piece := await asyncio.wait_for(reader.read(200_000), 60):
        received += piece
        await asyncio.sleep(0.03)
    streamed, rest = first_answer(received, to_head=False)
    assert streamed.body == song
    assert rest.startswith(b"HTTP/1.1 400 ")
    await sending
    writer.close()


async def test_what_the_application_never_sees_has_an_id_and_is_counted(service: Service) -> None:
    for request, code in (
        (b"NO METHOD OF HTTP\r\n\r\n", "malformed-request"),
        (HEAD + b"X-Large: " + b"x" * 100_000, "head-too-large"),
        (HEAD, "head-stalled"),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(request)
        head, _, body = (await asyncio.wait_for(reader.read(), 60)).partition(b"\r\n\r\n")
        writer.close()
        assert json.loads(body)["code"] == code
        assert b"\r\nx-request-id: " in head
        scraped = (await service.http.get("/metrics")).text
        assert f'mosic_errors_total{{code="{code}"}} 1.0' in scraped


async def test_so_is_that_of_a_later_request(service: Service) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    for _ in range(3):
        writer.write(HEAD + b"\r\n")
        assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b'{"status":"ok"}\n'), 60)
    writer.write(HEAD)
    assert_refused(await asyncio.wait_for(reader.read(), 60))
    writer.close()


async def test_a_connection_on_which_nothing_comes_is_closed_without_a_word(service: Service) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    assert await asyncio.wait_for(reader.read(), 60) == b""
    writer.close()


async def test_a_head_in_time_is_answered_and_a_slow_body_is_another_matter(service: Service) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(HEAD[:20])
    await asyncio.sleep(0.1)
    writer.write(HEAD[20:] + b"Connection: close\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 200 ")
    writer.close()

    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(
        b"POST /play/upload HTTP/1.1\r\nHost: mosic\r\nX-API-Key: test-key\r\n"
        b"Content-Type: audio/wav\r\nContent-Length: 8\r\nConnection: close\r\n\r\n1234"
    )
    await asyncio.sleep(_SECONDS + 0.5)
    writer.write(b"5678")
    assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 415 ")
    writer.close()
