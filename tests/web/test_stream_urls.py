"""Every address and connection that a listener may come by."""

from __future__ import annotations

import asyncio
import re
import uuid
from contextlib import suppress

import pytest

from tests.support.clips import ServedClip, add_clip
from tests.support.exchange import Answer, exchange, first_answer, head
from tests.support.rfc9110 import CONTENT
from tests.support.service import AUTH, Service
from tests.support.sounds import wav


@pytest.fixture
async def clip(service: Service) -> ServedClip:
    return await add_clip(service)


def spellings(clip_id: str) -> list[str]:
    return [clip_id, clip_id.upper(), clip_id.replace("-", "%2D")]


@pytest.mark.parametrize("prefix", ["/play", "/clips", "/api/v1/clips"])
@pytest.mark.parametrize("end", ["/stream", "/stream/", "/stream?expires=1&x=%20"])
async def test_each_spelling_leads_to_the_same_sound(clip: ServedClip, prefix: str, end: str) -> None:
    for name in spellings(clip.id):
        for _ in range(2):  # not known before, and known
            answer = await exchange(clip.service.port, head("GET", f"{prefix}/{name}{end}"))
            assert (answer.status, answer.body) == (200, CONTENT), name
        asked = await exchange(clip.service.port, head("HEAD", f"{prefix}/{name}{end}", "Range: bytes=0-4"))
        assert (asked.status, asked.body) == (200, b"")
        assert asked.fields["content-length"] == str(len(CONTENT))
    assert (await clip.stats())["play_count"] == 6


@pytest.mark.parametrize(
    "path",
    [
        "/play/01935b7e-1111-7222-8333-444455556666/stream",
        "/play/x/stream",
        "/play//stream",
        "/play/%00/stream",
        "/play/%C3%A9/stream",
        "/play/..%2F..%2Fetc%2Fpasswd/stream",
        "/play/stream",
        "/clips/stream/",
        "/stream",
        "/songs/{id}/stream",
        "/play/{id}/{id}/stream",
        "/play/{id}/stream/x",
        "/play/{id}/Stream",
        "//play/{id}/stream",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_other_addresses_are_not_found(clip: ServedClip, path: str, method: str) -> None:
    answer = await exchange(clip.service.port, head(method, path.format(id=clip.id)))
    assert answer.status in (404, 422)
    assert answer.fields["content-type"] == "application/problem+json"
    assert answer.fields["x-request-id"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_told_which_there_are(clip: ServedClip, method: str) -> None:
    answer = await exchange(clip.service.port, head(method, clip.path, "Content-Length: 0"))
    assert answer.status == 405
    assert answer.fields["allow"] == "GET, HEAD"


async def test_the_request_id_is_the_clients_or_a_new_one(clip: ServedClip) -> None:
    assert (await clip.ask("GET", "X-Request-ID: abc-1")).fields["x-request-id"] == "abc-1"
    refused = await exchange(clip.service.port, head("GET", "/play/x/stream", "X-Request-ID: abc-2"))
    assert refused.fields["x-request-id"] == "abc-2"
    made = [(await clip.ask("GET", 'X-Request-ID: a"b')).fields["x-request-id"] for _ in range(2)]
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made)
    assert made[0] != made[1]


async def test_listeners_are_in_the_metrics_like_all_others(own_service: Service) -> None:
    clip = await add_clip(own_service)
    await clip.ask("GET", "Range: bytes=0-9")
    await clip.ask("GET", "Range: bytes=10-19")
    await exchange(clip.service.port, head("GET", f"/clips/{uuid.uuid4()}/stream"))
    text = (await clip.service.http.get("/metrics")).text
    route = 'route="/play/{clip_id}/stream"'
    assert f'mosic_total_api_requests_total{{method="GET",{route},status="206"}} 2.0' in text
    assert f'mosic_total_api_requests_total{{method="GET",{route},status="404"}} 1.0' in text
    assert 'mosic_errors_total{code="clip-not-found"} 1.0' in text
    assert "mosic_active_streams 0.0" in text
    assert clip.id not in text


async def answers(port: int, *requests: bytes, timeout: float = 30) -> list[Answer]:
    """What comes back when all are sent at once, over one connection; the last must ask to close it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(requests))
    received = await asyncio.wait_for(reader.read(), timeout)
    writer.close()
    found = []
    for request in requests:
        answer, received = first_answer(received, to_head=request.startswith(b"HEAD "))
        found.append(answer)
    assert received == b""
    return found


async def test_requests_sent_ahead_are_answered_in_order(clip: ServedClip) -> None:
    """RFC 9112 §9.3.2. Every kind of answer is followed by every other one."""
    kinds: list[tuple[str, tuple[str, ...], int, bytes]] = [
        ("GET", (), 200, CONTENT),
        ("GET", ("Range: bytes=5-9",), 206, CONTENT[5:10]),
        ("HEAD", (), 200, b""),
        ("GET", ("If-None-Match: *",), 304, b""),
        ("GET", ("Range: bytes=999999999-",), 416, b""),
        ("GET", ("Range: bytes=0-0,5-6",), 206, b""),
    ]
    wanted = [kinds[(step * number) % len(kinds)] for step in range(1, 6) for number in range(len(kinds))]
    requests = [head(method, clip.path, *lines, closing=False) for method, lines, _, _ in wanted]
    requests.append(head("GET", "/health"))
    found = await answers(clip.service.port, *requests)
    for answer, (method, lines, status, body) in zip(found, wanted, strict=False):
        assert answer.status == status
        if status == 200 or (status == 206 and "," not in lines[0]):
            assert answer.body == body, (method, lines)
    assert found[-1].status == 200


async def test_who_sends_too_much_ahead_is_cut_off(service: Service) -> None:
    """Each request would wait for its turn at a hundred times the memory that it took to send."""
    one = b"HEAD /play/none/stream HTTP/1.1\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(100_000 * one)
    received = 0
    with suppress(ConnectionError):
        while piece := await asyncio.wait_for(reader.read(1 << 20), 60):
            received += piece.count(b"HTTP/1.1 404 ")
    assert received < 100_000
    writer.close()
    assert (await service.http.get("/health")).status_code == 200


async def test_long_answers_and_short_ones_take_turns_on_one_connection(service: Service) -> None:
    content = wav(60.0)
    assert len(content) > 900_000
    facts = (await service.http.post("/play/upload", content=content, headers=AUTH)).json()
    path = f"/play/{facts['id']}/stream"
    long, short = head("GET", path, closing=False), head("GET", path, "Range: bytes=0-99", closing=False)
    many = head("GET", path, "Range: bytes=0-199999,300000-800000", closing=False)
    found = await answers(
        service.port, long, short, many, head("HEAD", path, closing=False), long, head("GET", path)
    )
    assert [answer.status for answer in found] == [200, 206, 206, 200, 200, 200]
    assert [answer.body for answer in (found[0], found[4], found[5])] == [content] * 3
    assert found[1].body == content[:100]
    assert content[300000:800001] in found[2].body


async def test_a_connection_serves_listeners_and_others_by_turns(clip: ServedClip) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", clip.service.port)
    for number in range(30):
        path = ("/health", clip.path, "/play", f"{clip.path}/")[number % 4]
        writer.write(head("GET", path, closing=False))
        raw = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        found = re.search(rb"content-length: ([0-9]+)", raw)
        assert raw.startswith(b"HTTP/1.1 200 ")
        assert found
        assert len(await asyncio.wait_for(reader.readexactly(int(found[1])), 60)) == int(found[1])
    writer.close()


async def test_a_body_with_a_get_is_read_past(clip: ServedClip) -> None:
    """It means nothing (RFC 9110 §9.3.1); what follows it is the next request."""
    with_body = head("GET", clip.path, "Content-Length: 5", closing=False) + b"GET /"
    found = await answers(clip.service.port, with_body, with_body, head("GET", clip.path))
    assert [(answer.status, answer.body) for answer in found] == [(200, CONTENT)] * 3


async def test_http_1_0(clip: ServedClip) -> None:
    received = await clip.service.raw(f"GET {clip.path} HTTP/1.0\r\n\r\n".encode())
    answer, rest = first_answer(received, to_head=False)
    assert (answer.status, answer.body, rest) == (200, CONTENT, b"")
    assert answer.fields["connection"] == "close"


async def test_head_and_body_are_one_packet(clip: ServedClip) -> None:
    """A head by itself costs the client a wake-up more than the sound does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", clip.service.port)
    for _ in range(5):
        writer.write(head("GET", clip.path, "Range: bytes=0-99", closing=False))
        received = await asyncio.wait_for(reader.read(65536), 60)
        assert received.endswith(CONTENT[:100])
    writer.close()
