"""Bodies large enough to be received past the parser: exact, and nothing of a next request lost."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import URL

from tests.support.databases import shown
from tests.support.exchange import Answer, first_answer, head
from tests.support.loops import LOOPS, url_on
from tests.support.service import KEY
from tests.support.sounds import wav

SONG = wav(400)  # 6.4 MB
DECLARED = f"Content-Length: {len(SONG)}"
AUTH = f"X-API-Key: {KEY}"
TUS = "Tus-Resumable: 1.0.0"


@dataclass
class At:
    http: httpx.AsyncClient
    port: int
    media: Path
    before: set[Path]

    def left(self) -> set[Path]:
        """The files that came since the test began."""
        return files(self.media) - self.before


def files(below: Path) -> set[Path]:
    return {path for path in below.rglob("*") if path.is_file()}


@pytest.fixture(params=LOOPS)
async def at(request: pytest.FixtureRequest, tmp_path: Path, database_url: URL) -> AsyncIterator[At]:
    """On both: they read in different ways."""
    media = tmp_path / "media"
    async with (
        url_on(request.param, media, shown(database_url), upload_idle_seconds=1.0) as url,
        httpx.AsyncClient(base_url=url, timeout=60) as client,
    ):
        yield At(client, urlsplit(url).port or 0, media, files(media))


async def answers(port: int, *pieces: bytes | float, count: int = 1) -> list[Answer]:
    """Send the pieces, waiting where a number says so many seconds, and read until the service closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            else:
                writer.write(piece)
                await writer.drain()
        received = await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()
    found = []
    for _ in range(count):
        answer, received = first_answer(received, to_head=False)
        found.append(answer)
    assert received == b""
    return found


def put(*lines: str, closing: bool = True) -> bytes:
    return head("PUT", "/play/upload/a.wav", AUTH, DECLARED, *lines, closing=closing)


async def test_a_request_behind_a_large_body_is_answered(at: At) -> None:
    request = put(closing=False) + SONG + head("GET", "/play")
    made, listed = await answers(at.port, request, count=2)
    assert made.status == 201
    (clip,) = json.loads(listed.body)
    assert clip["sha256"] == hashlib.sha256(SONG).hexdigest()
    assert (await at.http.get(f"/play/{clip['id']}/stream")).content == SONG


async def test_what_follows_a_body_that_is_longer_than_declared_is_refused_behind_its_answer(at: At) -> None:
    request = put(closing=False) + SONG + b"not HTTP\r\n\r\n"
    made, refused = await answers(at.port, request, count=2)
    assert (made.status, json.loads(made.body)["sha256"]) == (201, hashlib.sha256(SONG).hexdigest())
    assert (refused.status, json.loads(refused.body)["code"]) == (400, "malformed-request")
    assert refused.fields["connection"] == "close"


@pytest.mark.parametrize("size", [1_000, len(SONG)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_is_taken_though_its_request_asks_for_another_protocol(
    at: At, size: int, chunked: bool
) -> None:
    """As Java's HttpClient and `curl --http2` do (RFC 9110 §7.8: «A server MAY ignore»)."""
    song = wav(0.5)[:size] if size < len(SONG) else SONG
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(song)}"
    pieces = (song[:7], song[7:], b"") if chunked else ()
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) or song
    asking = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    request = head("PUT", "/play/upload/a.wav", AUTH, framing, *asking, closing=False)
    made, listed = await answers(at.port, request + body + head("GET", "/play"), count=2)
    assert (made.status, json.loads(made.body)["sha256"]) == (201, hashlib.sha256(song).hexdigest())
    assert len(json.loads(listed.body)) == 1


async def test_large_and_small_requests_take_turns_on_one_connection(at: At) -> None:
    limits = httpx.Limits(max_connections=1)
    async with httpx.AsyncClient(base_url=at.http.base_url, limits=limits, timeout=60) as client:
        for number in range(3):
            song = wav(100 + number, seed=number)
            form = {"file": ("b.wav", song)}
            headers = {"X-API-Key": KEY}
            made = await client.post("/play/upload", files=form, data={"artist": "x" * 99}, headers=headers)
            assert made.status_code == 201
            assert made.json()["sha256"] == hashlib.sha256(song).hexdigest()
            assert (await client.post("/play/upload", content=song, headers=headers)).status_code == 200
            assert (await client.get(made.json()["stream_url"])).content == song
            assert (await client.delete(f"/play/{made.json()['id']}", headers=headers)).status_code == 204


async def test_a_body_in_any_pieces_and_at_any_pace_is_the_same(at: At) -> None:
    dice = random.Random(11)
    pieces: list[bytes | float] = [put()]
    sent = 0
    while sent < len(SONG):
        size = dice.choice((1, 100, 5_000, 70_000, 300_000, 1_500_000))
        pieces += [SONG[sent : sent + size], dice.choice((0.0, 0.0, 0.02, 0.1))]
        sent += size
    (made,) = await answers(at.port, *pieces)
    assert (made.status, json.loads(made.body)["sha256"]) == (201, hashlib.sha256(SONG).hexdigest())


@pytest.mark.parametrize("sent", [300_000, 1_000_000, 3_000_001])
async def test_tus_keeps_every_byte_that_came_before_the_connection_broke(at: At, sent: int) -> None:
    headers = {"X-API-Key": KEY, "Tus-Resumable": "1.0.0", "Upload-Length": str(len(SONG))}
    upload = (await at.http.post("/play/uploads", headers=headers)).headers["location"]
    lines = (AUTH, TUS, DECLARED, "Upload-Offset: 0", "Content-Type: application/offset+octet-stream")
    _, writer = await asyncio.open_connection("127.0.0.1", at.port)
    writer.write(head("PATCH", urlsplit(upload).path, *lines) + SONG[:sent])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    headers = {"X-API-Key": KEY, "Tus-Resumable": "1.0.0"}
    async with asyncio.timeout(60):
        while True:
            stands = await at.http.head(upload, headers=headers)
            if stands.status_code == 200 and stands.headers["upload-offset"] == str(sent):
                break
            await asyncio.sleep(0.05)
    rest = {
        **headers,
        "Upload-Offset": str(sent),
        "Content-Type": "application/offset+octet-stream",
    }
    done = await at.http.patch(upload, content=SONG[sent:], headers=rest)
    assert done.status_code == 204
    clip = (await at.http.get(done.headers["content-location"])).json()
    assert clip["sha256"] == hashlib.sha256(SONG).hexdigest()


async def test_a_sender_that_breaks_off_leaves_nothing(at: At) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", at.port)
    writer.write(put() + SONG[:2_000_000])
    await writer.drain()
    async with asyncio.timeout(60):
        while not at.left():
            await asyncio.sleep(0.01)
        writer.close()
        while at.left():
            await asyncio.sleep(0.01)


async def test_a_sender_that_stalls_is_told_so(at: At) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", at.port)
    writer.write(put() + SONG[:2_000_000])
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert at.left() == set()


async def test_a_refusal_in_the_midst_reaches_a_client_that_only_sends(at: At) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    body = part + SONG[:1_000_000] + b"\r\n" + part + SONG[:1_000_000] + b"\r\n--b--\r\n"
    kind = "Content-Type: multipart/form-data; boundary=b"
    lines = (AUTH, kind, f"Content-Length: {len(body)}")
    (answer,) = await answers(at.port, head("POST", "/play/upload", *lines), body)
    assert (answer.status, json.loads(answer.body)["code"]) == (422, "invalid-request")
    assert at.left() == set()


async def test_expect_100_continue_is_answered_before_a_large_body(at: At) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", at.port)
    writer.write(put("Expect: 100-continue"))
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(SONG)
    answer, rest = first_answer(await asyncio.wait_for(reader.read(), 60), to_head=False)
    writer.close()
    assert (answer.status, rest) == (201, b"")


async def test_a_client_that_leaves_before_its_first_answer_is_no_error(
    at: At, caplog: pytest.LogCaptureFixture
) -> None:
    """Though a next request of its waits already."""
    for number in range(20):
        song = wav(1, seed=number)
        request = head("PUT", "/play/upload/a.wav", AUTH, f"Content-Length: {len(song)}", closing=False)
        _, writer = await asyncio.open_connection("127.0.0.1", at.port)
        writer.write(request + song + head("GET", "/play"))
        await writer.drain()
        await asyncio.sleep(0.001 * number)
        writer.close()
        await writer.wait_closed()
    assert (await at.http.get("/health")).status_code == 200
    assert not [line for line in caplog.records if "unexpected error" in str(line.msg)]
