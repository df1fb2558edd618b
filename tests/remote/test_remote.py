"""External audio is passed on as it is: bytes, ranges, validators, redirects."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from mosic.errors import RemoteFailed
from mosic.remote import Remote, RemoteResponse
from tests.remote.conftest import requested

if TYPE_CHECKING:
    from tests.remote.conftest import Source

AUDIO = random.Random(7).randbytes(300_000)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n"


@pytest.fixture
async def file_server(tmp_path: Path) -> AsyncIterator[str]:
    """aiohttp's own file server: ranges and preconditions by another hand."""
    (tmp_path / "song.mp3").write_bytes(AUDIO)
    app = web.Application()
    app.router.add_static("/", tmp_path)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/song.mp3"
    await runner.cleanup()


async def read(answer: RemoteResponse) -> bytes:
    body = b"".join([chunk async for chunk in answer.body])
    await answer.close()
    return body


async def test_the_whole_file_arrives_with_its_type_and_validators(remote: Remote, file_server: str) -> None:
    answer = await remote.open(file_server)
    assert answer.head.status == 200
    assert answer.head.headers["Content-Type"] == "audio/mpeg"
    assert answer.head.headers["Content-Length"] == str(len(AUDIO))
    assert answer.head.headers["Accept-Ranges"] == "bytes"
    assert {"ETag", "Last-Modified"} < set(answer.head.headers)
    assert await read(answer) == AUDIO


@pytest.mark.parametrize(
    ("asked", "first", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-299999", 100, 300_000),
        ("bytes=299999-", 299_999, 300_000),
        ("bytes=-500", 299_500, 300_000),
        ("bytes=0-999999", 0, 300_000),
    ],
)
async def test_a_range_arrives_as_that_range(
    remote: Remote, file_server: str, asked: str, first: int, stop: int
) -> None:
    answer = await remote.open(file_server, requested({"Range": asked}))
    assert answer.head.status == 206
    assert answer.head.headers["Content-Range"] == f"bytes {first}-{stop - 1}/300000"
    assert answer.head.headers["Content-Length"] == str(stop - first)
    assert await read(answer) == AUDIO[first:stop]


async def test_preconditions_are_answered_by_the_source(remote: Remote, file_server: str) -> None:
    first = await remote.open(file_server, requested({}, "HEAD"))
    etag = first.head.headers["ETag"]
    for fields, status in [
        ({"If-None-Match": etag}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-Modified-Since": first.head.headers["Last-Modified"]}, 304),
        ({"If-Match": '"other"'}, 412),
        ({"If-Unmodified-Since": "Sat, 29 Oct 1994 19:43:31 GMT"}, 412),
        ({"Range": "bytes=300000-"}, 416),
    ]:
        answer = await remote.open(file_server, requested(fields))
        assert answer.head.status == status
        assert await read(answer) == (AUDIO if status == 200 else b"")
        if status == 416:
            assert answer.head.headers["Content-Range"] == "bytes */300000"


async def test_a_head_has_headers_and_no_body(remote: Remote, file_server: str) -> None:
    answer = await remote.open(file_server, requested({"Range": "bytes=0-1"}, "HEAD"))
    assert (answer.head.status, answer.head.headers["Content-Length"]) == (200, str(len(AUDIO)))
    assert await read(answer) == b""


@pytest.mark.parametrize("status", [b"403 Forbidden", b"405 Method Not Allowed", b"501 Not Implemented"])
async def test_a_source_that_refuses_head_is_asked_with_get(
    source: type[Source], remote: Remote, status: bytes
) -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"HEAD"):
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 9\r\n\r\n")
        else:
            writer.write(OK + b"Content-Length: 5\r\n\r\nhello")

    async with source(answer).running() as url:
        found = await remote.open(url, requested({}, "HEAD"))
    assert (found.head.status, found.head.headers["Content-Length"]) == (200, "5")
    assert await read(found) == b""


async def test_the_source_sees_a_plain_request_and_nothing_of_the_client(
    source: type[Source], remote: Remote
) -> None:
    server = source(OK + b"Set-Cookie: id=1\r\nContent-Length: 5\r\n\r\nhello")
    async with server.running() as url:
        for _ in range(2):
            answer = await remote.open(
                url.replace("song", "a%2Fb%20c%7e") + "?s=%2B%41&t=ä#x",
                requested({"Cookie": "a=b", "Range": "bytes=0-"}),
            )
            assert await read(answer) == b"hello"
            assert "Set-Cookie" not in answer.head.headers
    lines = server.heads[-1].decode("ascii").split("\r\n")
    assert lines[0] == "GET /a%2Fb%20c%7e.mp3?s=%2B%41&t=%C3%A4 HTTP/1.1"
    assert {line.partition(":")[0].lower() for line in lines[1:] if line} == {
        "host", "user-agent", "accept", "accept-encoding", "range"
    }  # fmt: skip
    assert "Accept-Encoding: identity" in lines


async def test_a_connection_that_was_read_to_its_end_is_used_again(
    source: type[Source], remote: Remote
) -> None:
    server = source(OK + b"Content-Length: 5\r\n\r\nhello")
    async with server.running() as url:
        for _ in range(3):
            await read(await remote.open(url))
    assert (len(server.heads), server.connections) == (3, 1)


async def test_redirects_are_followed_also_relative_ones(source: type[Source], remote: Remote) -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        hop = int(head.split()[1].removeprefix(b"/hop"))
        if hop == 5:
            writer.write(OK + b"Content-Length: 5\r\n\r\nhello")
        else:
            status = (301, 302, 303, 307, 308)[hop]
            location = f"hop{hop + 1}"
            writer.write(
                f"HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 3\r\n\r\nbye".encode()
            )

    server = source(answer)
    async with server.running() as url:
        found = await remote.open(url.replace("song.mp3", "hop0"), requested({"Range": "bytes=0-"}))
        assert await read(found) == b"hello"
    assert len(server.heads) == 6
    assert all(b"Range: bytes=0-\r\n" in head for head in server.heads)


@pytest.mark.parametrize(
    "location",
    [b"Location: /song.mp3", b"X: y", b"Location:", b"Location: ftp://a.example/", b"Location: http://["],
)
async def test_redirects_that_lead_nowhere_fail(
    source: type[Source], remote: Remote, location: bytes
) -> None:
    server = source(b"HTTP/1.1 302 Found\r\n" + location + b"\r\nContent-Length: 0\r\n\r\n")
    async with server.running() as url:
        with pytest.raises(RemoteFailed):
            await remote.open(url)
    assert len(server.heads) <= 6
