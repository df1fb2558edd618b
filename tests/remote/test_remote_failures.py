"""Every way a source can fail: broken answers, silence, and bodies that end too early."""

from __future__ import annotations

import asyncio
import random
import socket
import traceback
from typing import TYPE_CHECKING

import pytest
import structlog.testing

from mosic.errors import RemoteFailed, RemoteTimeout
from mosic.remote import Remote, RemoteResponse
from tests.remote.conftest import requested
from tests.support.resets import reset_when_closed

if TYPE_CHECKING:
    from tests.remote.conftest import Source

OK = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n"


async def read(answer: RemoteResponse) -> bytes:
    body = b"".join([chunk async for chunk in answer.body])
    await answer.close()
    return body


BROKEN_HEADS = {
    "nothing": b"",
    "garbage": b"\x00\xff\xfe\r\n\r\n",
    "much garbage": b"\x00" * 200_000,
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "old html": b"<html></html>",
    "huge header": OK + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    "huge status line": b"HTTP/1.1 200 " + b"a" * 100_000 + b"\r\n\r\n",
    "many headers": OK + b"X: y\r\n" * 500 + b"Content-Length: 0\r\n\r\n",
    "endless headers": OK + b"X: y\r\n" * 200_000,
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "negative length": OK + b"Content-Length: -5\r\n\r\nhello",
    "length and chunks": OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
    "html": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello",
    "a part nobody asked for": b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-0/9\r\nContent-Length: 1\r\n\r\nx",
    "not found": b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello",
    "failure": b"HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nhello",
    "another protocol offered": b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc",
}  # fmt: skip


@pytest.mark.parametrize("head", BROKEN_HEADS.values(), ids=BROKEN_HEADS)
async def test_a_broken_answer_is_a_failure_that_says_nothing_of_the_inside(
    source: type[Source], remote: Remote, head: bytes
) -> None:
    async with source(head).running() as url:
        with pytest.raises(RemoteFailed) as failed:
            await remote.open(url)
    assert failed.value.status == 502
    assert "127.0.0.1" not in failed.value.detail
    assert "Error" not in failed.value.detail
    # A log that shows the error must not be filled by the source.
    assert len("".join(traceback.format_exception(failed.value))) < 3000


async def test_the_log_says_why_and_keeps_the_secret_of_a_signed_url(
    source: type[Source], remote: Remote
) -> None:
    async with source(BROKEN_HEADS["much garbage"]).running() as url:
        with structlog.testing.capture_logs() as lines, pytest.raises(RemoteFailed):
            await remote.open(f"{url}?signature=secret")
    assert [line["url"] for line in lines] == [url]
    assert "ClientResponseError" in lines[0]["reason"]
    assert len(str(lines)) < 1000


async def test_a_status_of_the_source_is_named(source: type[Source], remote: Remote) -> None:
    async with source(BROKEN_HEADS["not found"]).running() as url:
        with pytest.raises(RemoteFailed, match="404"):
            await remote.open(url)


BROKEN_BODIES = {
    "too short": (b"Content-Length: 50\r\n\r\n", b"hello"),
    "nothing at all": (b"Content-Length: 50\r\n\r\n", b""),
    "chunk too short": (b"Transfer-Encoding: chunked\r\n\r\n", b"50\r\nhello"),
    "chunks without end": (b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n"),
}


@pytest.mark.parametrize("parts", BROKEN_BODIES.values(), ids=BROKEN_BODIES)
async def test_a_source_that_breaks_off_raises_from_the_body(
    source: type[Source], remote: Remote, parts: tuple[bytes, bytes]
) -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + parts[0])
        await opened.wait()
        writer.write(parts[1])
        writer.close()
        await writer.wait_closed()

    opened = asyncio.Event()
    async with source(answer).running() as url:
        found = await remote.open(url)
        opened.set()
        with pytest.raises(RemoteFailed, match="was lost"):
            await read(found)


@pytest.mark.parametrize(
    "chunks", [b"zz\r\nhello\r\n", b"3\r\nhello\r\n0\r\n\r\n"], ids=["no size", "wrong size"]
)
@pytest.mark.parametrize("reading", [False, True])
async def test_malformed_chunks_do_not_keep_the_listener_waiting(
    source: type[Source], impatient: Remote, chunks: bytes, reading: bool
) -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n")
        await opened.wait()
        writer.write(chunks)
        writer.close()
        await writer.wait_closed()

    opened = asyncio.Event()
    async with source(answer).running() as url, asyncio.timeout(60):
        found = await impatient.open(url)
        listening = asyncio.create_task(read(found)) if reading else None
        await asyncio.sleep(0.05)
        opened.set()
        await asyncio.sleep(0.05)
        with pytest.raises((RemoteFailed, RemoteTimeout)):
            await (listening or read(found))


async def test_a_reset_connection_raises_from_the_body(source: type[Source], remote: Remote) -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 50\r\n\r\nhello")
        await writer.drain()
        reset_when_closed(writer)
        raise ConnectionError

    async with source(answer).running() as url:
        found = await remote.open(url)
        with pytest.raises(RemoteFailed):
            await read(found)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Ty", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_source_that_does_not_answer_is_a_timeout(
    source: type[Source], impatient: Remote, sent: bytes
) -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await asyncio.sleep(600)

    async with source(answer).running() as url:
        with pytest.raises(RemoteTimeout) as failed:
            await impatient.open(url)
    assert failed.value.status == 504


async def test_headers_that_drip_are_a_timeout_although_something_always_comes(
    source: type[Source], impatient: Remote
) -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        while True:
            writer.write(b"X: y\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with source(answer).running() as url, asyncio.timeout(60):
        with pytest.raises(RemoteTimeout):
            await impatient.open(url)


async def test_redirects_share_one_time_limit(source: type[Source], impatient: Remote) -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.6)
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")

    async with source(answer).running() as url:
        with pytest.raises(RemoteTimeout):
            await impatient.open(url)


async def test_a_body_that_stalls_is_a_timeout(source: type[Source], impatient: Remote) -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 50\r\n\r\nhello")
        await asyncio.sleep(600)

    async with source(answer).running() as url:
        found = await impatient.open(url)
        with pytest.raises(RemoteTimeout):
            await read(found)


async def test_a_slow_body_that_goes_on_is_none(source: type[Source], impatient: Remote) -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 50\r\n\r\n")
        for _ in range(10):
            writer.write(b"hello")
            await asyncio.sleep(0.2)

    async with source(answer).running() as url:
        assert await read(await impatient.open(url)) == b"hello" * 10


async def test_a_name_that_dns_does_not_know_is_a_failure() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with Remote(allow_private=True, timeout_seconds=5, resolve=resolve) as remote:
        with pytest.raises(RemoteFailed, match="resolved"):
            await remote.open("http://host.example/")


async def test_a_name_without_addresses_is_a_failure() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return []

    async with Remote(allow_private=True, timeout_seconds=5, resolve=resolve) as remote:
        with pytest.raises(RemoteFailed, match="resolved"):
            await remote.open("http://host.example/")


async def test_a_name_that_dns_does_not_answer_for_is_a_timeout() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        await asyncio.sleep(600)
        return ["127.0.0.1"]

    async with Remote(allow_private=True, timeout_seconds=0.2, resolve=resolve) as remote:
        with pytest.raises(RemoteTimeout):
            await remote.open("http://host.example/")


async def test_the_names_of_this_machine_are_resolved(source: type[Source], remote: Remote) -> None:
    async with source(OK + b"Content-Length: 5\r\n\r\nhello").running() as url:
        found = await remote.open(url.replace("127.0.0.1", "localhost"))
        assert await read(found) == b"hello"


async def test_a_refused_connection_is_a_failure(source: type[Source], remote: Remote) -> None:
    async with source(b"").running() as url:
        pass
    with pytest.raises(RemoteFailed, match="reached") as failed:
        await remote.open(url)
    assert "127.0.0.1" not in failed.value.detail


async def test_whatever_bytes_a_source_sends_only_the_errors_of_this_service_come_out(
    source: type[Source],
) -> None:
    chance = random.Random(11)
    whole = OK + b'Content-Length: 20\r\nETag: "a"\r\n\r\n' + b"hello" * 4
    chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5;x=y\r\nhello\r\n0\r\nX: y\r\n\r\n"

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        sent = bytearray(chance.choice((whole, chunked)))
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(sent))
            sent[at : at + chance.randint(0, 3)] = chance.choice(
                (b"", b"\r\n", b"\x00", b"\xff", b":", b"9999999")
            )
        writer.write(sent)
        await writer.drain()
        writer.close()
        raise ConnectionError

    outcomes = set()
    async with Remote(allow_private=True, timeout_seconds=0.5) as remote, source(answer).running() as url:
        for _ in range(300):
            try:
                await read(await remote.open(url, requested({"Range": "bytes=0-"})))
                outcomes.add("read")
            except (RemoteFailed, RemoteTimeout) as error:
                outcomes.add(error.code)
    assert {"read", "remote-failed"} <= outcomes
