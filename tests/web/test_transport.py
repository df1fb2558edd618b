"""How responses are written, on both event loops: the client gets them, and nothing is left to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

import pytest
import uvloop
from uvicorn.protocols.http.flow_control import FlowControl

from mosic.server.exchange import Exchange

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"11")]}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n"
NOT_MODIFIED = {"type": "http.response.start", "status": 304, "headers": [(b"etag", b'"a"')]}

Write = Callable[[Exchange], Awaitable[None]]


def body(content: bytes, *, more: bool = False) -> dict[str, object]:
    return {"type": "http.response.body", "body": content, "more_body": more}


@pytest.fixture(params=[asyncio.SelectorEventLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Write], bytes]:
    """Has a response written by the server, which then closes the connection; what the client got."""

    async def exchange(write: Write) -> bytes:
        served = asyncio.Event()

        class Server(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                # That of uvloop is no asyncio.Transport.
                self.responding = asyncio.ensure_future(self.respond(cast("asyncio.Transport", transport)))

            async def respond(self, transport: asyncio.Transport) -> None:
                await write(
                    Exchange(
                        {"type": "http", "method": "GET"},
                        transport,
                        FlowControl(transport),
                        [],
                        lambda: None,
                        expect_100_continue=False,
                        keep_alive=True,
                    )
                )
                transport.close()

            def connection_lost(self, exc: Exception | None) -> None:
                served.set()

        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        async with asyncio.timeout(60):
            received = await reader.read()
            await served.wait()
        writer.close()
        server.close()
        return received

    def run(write: Write) -> bytes:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(exchange(write))

    return run


def test_head_and_body(run: Callable[[Write], bytes]) -> None:
    async def write(exchange: Exchange) -> None:
        await exchange.send(START)
        await exchange.send(body(b"first", more=True))
        await exchange.send(body(b"second"))

    assert run(write) == HEAD + b"firstsecond"


def test_a_head_without_a_body(run: Callable[[Write], bytes]) -> None:
    async def write(exchange: Exchange) -> None:
        await exchange.send(NOT_MODIFIED)
        await exchange.send(body(b""))
        assert exchange.transport.get_write_buffer_size() == 0

    assert run(write) == b'HTTP/1.1 304 Not Modified\r\netag: "a"\r\n\r\n'


def test_a_head_whose_body_never_comes(run: Callable[[Write], bytes]) -> None:
    async def fail(scope: object, receive: object, send: Callable[[object], Awaitable[None]]) -> None:
        await send(START)
        raise ZeroDivisionError

    async def write(exchange: Exchange) -> None:
        await exchange.run_asgi(fail)

    assert run(write) == HEAD


@pytest.mark.parametrize("held", [True, False])
def test_to_who_has_left_nothing_is_written(run: Callable[[Write], bytes], held: bool) -> None:
    watched = []

    async def write(exchange: Exchange) -> None:
        if held:
            await exchange.send(START)
        exchange.transport.abort()
        if not held:
            await exchange.send(START)
        await exchange.send(body(b"first", more=True))
        await exchange.send(body(b"second"))
        watched.append(exchange.transport.get_write_buffer_size())

    with suppress(ConnectionResetError):
        assert run(write) == b""
    assert watched == [0]
