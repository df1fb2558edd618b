"""Clients that fall silent, wherever they are: while no response is being made, some timer runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from mosic.settings.timings import Timings
from tests.conftest import SLOW
from tests.support.databases import shown
from tests.support.exchange import head
from tests.support.service import AUTH, KEY, Service, running_service
from tests.support.sounds import wav

SONG = wav(0.5)
LARGE = wav(40)  # is received past the parser
API_KEY = f"X-API-Key: {KEY}"
CHUNKED = "Transfer-Encoding: chunked"
JSON = "Content-Type: application/json"
_SECONDS = 1.0
_AT_ONCE = 400


@pytest.fixture
async def service(tmp_path: Path, database_url: URL) -> AsyncIterator[Service]:
    async with running_service(
        tmp_path / "media",
        shown(database_url),
        upload_idle_seconds=_SECONDS,
        keep_alive_seconds=_SECONDS,
        timings=Timings(head=_SECONDS, drain=_SECONDS, linger=0.2),
    ) as running:
        yield running


def chunked(body: bytes) -> bytes:
    return b"%x;a=b\r\n%s\r\n0\r\nX-Trailer: 1\r\n\r\n" % (len(body), body)


def scripts(clip: str) -> dict[str, bytes]:
    """Everything that a client says on its connection, which it keeps."""

    def to(method: str, path: str, *lines: str, body: bytes = b"") -> bytes:
        return head(method, path, *lines, closing=False) + body

    clip_path, stream = f"/play/{clip}", f"/play/{clip}/stream"
    listen = to("GET", stream, "Range: bytes=0-9")
    append = (
        API_KEY,
        "Tus-Resumable: 1.0.0",
        "Upload-Length: 9",
        "Content-Type: application/offset+octet-stream",
    )
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    return {
        "empty lines": b"\r\n\r\n" + listen + b"\r\n\r\n",
        "one after another": listen + listen,
        "body on stream": to("GET", stream, "Content-Length: 20", body=b"x" * 20) + listen,
        "chunks on stream": to("GET", stream, CHUNKED, body=chunked(b"abc")) + listen,
        "body of a range": to("GET", stream, "Range: bytes=0-9", "Content-Length: 20", body=b"x" * 20),
        "no such clip": to("GET", "/play/zzz/stream", "Content-Length: 9", body=b"x" * 9),
        "body on health": to("GET", "/health", "Content-Length: 9", body=b"x" * 9),
        "JSON": to("PATCH", clip_path, API_KEY, JSON, "Content-Length: 13", body=b'{"title":"a"}') + listen,
        "JSON in chunks": to("PATCH", clip_path, API_KEY, JSON, CHUNKED, body=chunked(b'{"title":"a"}')),
        "external": to("POST", "/play", API_KEY, JSON, "Content-Length: 2", body=b"{}"),
        "without a key": to("PATCH", clip_path, JSON, CHUNKED, body=chunked(b"{}")),
        "upload": to("PUT", "/play/upload/a", API_KEY, f"Content-Length: {len(SONG)}", body=SONG[:300]),
        "chunks": to("PUT", "/play/upload/a", API_KEY, CHUNKED, body=chunked(SONG[:300])),
        "continue": to(
            "PUT", "/play/upload/a", API_KEY, CHUNKED, "Expect: 100-continue", body=chunked(b"abc")
        ),
        "large": to("PUT", "/play/upload/a", API_KEY, f"Content-Length: {len(LARGE)}", body=LARGE[:-9]),
        "tus": to("POST", "/play/uploads", *append, "Content-Length: 9", body=b"x" * 8),
        "tus in chunks": to("POST", "/play/uploads", *append, CHUNKED, body=chunked(b"x" * 8)),
        "upgrade": to("PATCH", clip_path, API_KEY, JSON, CHUNKED, *upgrade, body=chunked(b"{}")) + listen,
        "upgrade without a body": to("GET", "/health", *upgrade) + listen,
        "asterisk": to("OPTIONS", "*") + listen,
        "refused": to("FOO", "/health") + listen,
        "refused behind another": listen + to("CONNECT", "a:80") + listen,
        "refused body": to("PUT", "/play/upload/a", API_KEY, CHUNKED, body=b"3\r\nabcd\r\n" + listen),
        "last": head("GET", stream, "Range: bytes=0-9") + listen,
        "HTTP/1.0": b"GET /health HTTP/1.0\r\n\r\n" + listen,
        "HTTP/0.9": b"GET /health\r\n",
    }


def cuts(script: bytes) -> list[int]:
    """Where the client falls silent: everywhere, or (quicker) in few places."""
    if len(script) > 10_000:
        return [700, 300_000, 700_000, len(script)]
    if SLOW:
        return list(range(1, len(script) + 1))
    return sorted({20, script.find(b"\r\n\r\n") + 4, len(script)})


async def closed(service: Service, said: bytes) -> bool:
    """Whether the service closes the connection of a client that says so much and no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        writer.write(said)
        async with asyncio.timeout(60):
            while await reader.read(65536):
                pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    finally:
        writer.close()
    return True


async def test_no_connection_stays_open(service: Service) -> None:
    made = await service.http.post("/play/upload", content=SONG, headers=AUTH)
    silent = [
        (name, script[:cut]) for name, script in scripts(made.json()["id"]).items() for cut in cuts(script)
    ]
    for start in range(0, len(silent), _AT_ONCE):
        some = silent[start : start + _AT_ONCE]
        ends = await asyncio.gather(*(closed(service, said) for _, said in some))
        assert [one for one, end in zip(some, ends, strict=True) if not end] == []


async def test_who_says_nothing_is_closed(service: Service) -> None:
    assert await closed(service, b"")


async def test_empty_lines_do_not_keep_a_connection(service: Service) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(head("GET", "/health", closing=False))
    assert (await asyncio.wait_for(reader.readuntil(b'{"status":"ok"}\n'), 60)).startswith(b"HTTP/1.1 200 ")

    async def say_nothing() -> None:
        while True:
            writer.write(b"\r\n")
            await asyncio.sleep(0.05)

    saying = asyncio.create_task(say_nothing())
    try:
        assert await asyncio.wait_for(reader.read(), 60) == b""
    except ConnectionError:
        pass
    finally:
        saying.cancel()
        writer.close()


async def test_a_body_that_nobody_wants_is_drained_for_so_long(service: Service) -> None:
    made = await service.http.post("/play/upload", content=SONG, headers=AUTH)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    path = f"/play/{made.json()['id']}/stream"
    writer.write(head("GET", path, "Content-Length: 1000000", closing=False))
    await asyncio.wait_for(reader.readexactly(100), 60)

    async def dribble() -> None:
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.05)

    dribbling = asyncio.create_task(dribble())
    try:
        assert (await asyncio.wait_for(reader.read(), 60)).endswith(SONG[-1000:])
    finally:
        dribbling.cancel()
        writer.close()


async def test_a_stream_is_whole_though_its_client_is_sending_and_wants_the_connection_closed(
    service: Service,
) -> None:
    """Closed at once, a client that is sending gets a reset, at which it may lose what it has not read."""
    made = await service.http.post("/play/upload", content=SONG, headers=AUTH)
    path = f"/play/{made.json()['id']}/stream"
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(head("GET", path, "Content-Length: 3000000") + bytes(1_000_000))
    await asyncio.sleep(0.2)
    writer.write(bytes(1_000_000))
    await asyncio.sleep(0.2)
    assert (await asyncio.wait_for(reader.read(), 60)).endswith(SONG)
    writer.close()
