"""Bytes flow at the listener's pace, and nothing stays open: closing, cancelling, limits, TLS."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shlex
import shutil
import socket
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mosic.errors import RemoteFailed, RemoteTimeout
from mosic.remote import Remote

if TYPE_CHECKING:
    from tests.remote.conftest import Source

MEBIBYTE = 1024 * 1024
SIZE = 64 * MEBIBYTE
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
SMALL = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 5\r\n\r\nhello"


class Large:
    """An answer of 64 MiB, which knows how much of it has been taken."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: %d\r\n\r\n" % SIZE)
        while self.sent < SIZE:
            writer.write(bytes(64 * 1024))
            await writer.drain()
            self.sent += 64 * 1024

    async def stuck(self) -> None:
        before = -1
        while self.sent != before:
            before = self.sent
            await asyncio.sleep(1.2)


async def test_a_listener_who_pauses_holds_up_the_source_and_loses_nothing(
    source: type[Source], impatient: Remote
) -> None:
    large = Large()
    async with source(large).running() as url:
        answer = await impatient.open(url)
        # Longer than the limit between reads: it is the listener who lets the source wait.
        await large.stuck()
        assert large.sent < SIZE / 2
        size = 0
        async for chunk in answer.body:
            size += len(chunk)
            assert len(chunk) <= MEBIBYTE
        assert size == SIZE
        await answer.close()


async def test_closing_early_ends_the_connection_to_the_source(source: type[Source], remote: Remote) -> None:
    large = Large()
    server = source(large)
    async with server.running() as url:
        answer = await remote.open(url)
        assert await anext(answer.body)
        await answer.close()
        await answer.close()
        async with asyncio.timeout(60):
            await server.ended.wait()
        assert large.sent < SIZE


async def test_an_answer_that_nobody_reads_can_be_closed(source: type[Source], remote: Remote) -> None:
    server = source(Large())
    async with server.running() as url:
        answer = await remote.open(url)
        await answer.close()
        async with asyncio.timeout(60):
            await server.ended.wait()


async def test_an_answer_closed_under_its_reader_fails_the_reader(
    source: type[Source], remote: Remote
) -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(SMALL.replace(b"5", b"50"))
        await asyncio.sleep(600)

    async with source(answer).running() as url:
        found = await remote.open(url)
        assert await anext(found.body) == b"hello"
        reading = asyncio.ensure_future(anext(found.body))
        await asyncio.sleep(0.05)
        await found.close()
        with pytest.raises(RemoteFailed):
            await reading


@pytest.mark.parametrize("headers_first", [False, True])
async def test_a_cancelled_request_leaves_nothing_open(
    source: type[Source], remote: Remote, headers_first: bool
) -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        if headers_first:
            writer.write(SMALL.replace(b"5", b"50"))
        await server.reader.read()
        raise ConnectionError

    async def listen(url: str) -> None:
        found = await remote.open(url)
        try:
            async for _ in found.body:
                pass
        finally:
            await found.close()

    server = source(answer)
    async with server.running() as url:
        listening = asyncio.create_task(listen(url))
        await asyncio.sleep(0.1)
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening
        async with asyncio.timeout(60):
            await server.ended.wait()


async def test_an_answer_that_is_forgotten_warns_nobody(source: type[Source], remote: Remote) -> None:
    async with source(Large()).running() as url:
        answer = await remote.open(url)
        await anext(answer.body)
        del answer
        gc.collect()
        await asyncio.sleep(0)


async def test_closing_everything_fails_whoever_still_reads(source: type[Source]) -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(SMALL.replace(b"5", b"50"))
        await server.reader.read()
        raise ConnectionError

    server = source(answer)
    async with server.running() as url:
        async with Remote(allow_private=True, timeout_seconds=60) as remote:
            unread, waiting = await remote.open(url), await remote.open(url)
            assert await anext(waiting.body) == b"hello"
            reading = asyncio.ensure_future(anext(waiting.body))
            await asyncio.sleep(0.05)
        async with asyncio.timeout(60):
            with pytest.raises(RemoteFailed):
                await reading
            with pytest.raises(RemoteFailed):
                await anext(unread.body)
            await server.ended.wait()


async def test_connections_to_one_source_are_limited(source: type[Source]) -> None:
    server = source(Large())
    limited = Remote(allow_private=True, timeout_seconds=1, connections_per_host=2)
    async with server.running() as url, limited as remote:
        first, second = await remote.open(url), await remote.open(url)
        with pytest.raises(RemoteTimeout):
            await remote.open(url)
        assert server.connections == 2
        waiting = asyncio.create_task(remote.open(url))
        await asyncio.sleep(0.05)
        await first.close()
        await (await waiting).close()
        await second.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for host.example that signs itself, in one file."""
    path = tmp_path_factory.mktemp("tls") / "host.pem"
    subprocess.run(
        shlex.split(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
            "-subj /CN=host.example -addext subjectAltName=DNS:host.example -keyout host.pem -out host.crt"
        ),
        cwd=path.parent,
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


async def loopback(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@needs_openssl
async def test_https_is_spoken_with_the_host_that_was_named(source: type[Source], certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate.with_suffix(".crt")))
    async with source(SMALL).running(tls=server_side(certificate)) as url:
        named = url.replace("127.0.0.1", "host.example")
        async with Remote(allow_private=True, timeout_seconds=60, resolve=loopback, tls=trusting) as remote:
            answer = await remote.open(named)
            assert [chunk async for chunk in answer.body] == [b"hello"]
            with pytest.raises(RemoteFailed, match="secure"):
                await remote.open(named.replace("host.example", "other.example"))
        async with Remote(allow_private=True, timeout_seconds=60, resolve=loopback) as remote:
            with pytest.raises(RemoteFailed, match="secure"):
                await remote.open(named)


@needs_openssl
async def test_https_does_not_lead_to_http(source: type[Source], certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate.with_suffix(".crt")))
    plain = source(SMALL)
    async with plain.running() as target:
        redirect = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
        secure = source(redirect).running(tls=server_side(certificate))
        remote = Remote(allow_private=True, timeout_seconds=60, resolve=loopback, tls=trusting)
        async with secure as url, remote:
            with pytest.raises(RemoteFailed):
                await remote.open(url.replace("127.0.0.1", "host.example"))
    assert plain.connections == 0


def fall_silent(listener: socket.socket, tls: ssl.SSLContext) -> None:
    """Begin an answer, then neither send nor read TLS any more; return when the connection is over."""
    connection, _ = listener.accept()
    with tls.wrap_socket(connection, server_side=True) as secure:
        secure.recv(65536)
        secure.sendall(SMALL.replace(b"5", b"50"))
        with socket.socket(fileno=secure.detach()) as raw:
            raw.settimeout(10)
            with contextlib.suppress(ConnectionError):
                while raw.recv(65536):
                    pass


@needs_openssl
async def test_closing_does_not_wait_for_the_goodbye_of_a_silent_source(certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate.with_suffix(".crt")))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = asyncio.create_task(asyncio.to_thread(fall_silent, listener, server_side(certificate)))
        async with Remote(allow_private=True, timeout_seconds=60, resolve=loopback, tls=trusting) as remote:
            answer = await remote.open(f"https://host.example:{listener.getsockname()[1]}/")
            assert await anext(answer.body) == b"hello"
            await answer.close()
            # asyncio by itself would wait for half a minute.
            async with asyncio.timeout(20):
                await over


async def test_https_to_a_source_without_tls_is_a_failure(remote: Remote) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SMALL)
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        with pytest.raises(RemoteFailed, match="secure"):
            await remote.open(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
