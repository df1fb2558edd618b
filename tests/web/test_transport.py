"""How answers are written, on both loops that there are: the client gets them, and nothing is left to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import uvloop

from mosic.server.transport import Transport

HEAD = b"HTTP/1.1 304 Not Modified\r\n\r\n"


class Exchange:
    """What uvicorn's `send` belongs to."""

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    async def send(self, message: Any) -> None:
        raise NotImplementedError


@pytest.fixture(params=[asyncio.SelectorEventLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[asyncio.Transport], None]], bytes]:
    """Has something done with a connection by the server, which then closes it; what the client got."""

    async def exchange(write: Callable[[asyncio.Transport], None]) -> bytes:
        served = asyncio.Event()

        class Server(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                write(transport)  # type: ignore[arg-type]
                transport.close()

            def connection_lost(self, exc: Exception | None) -> None:
                served.set()

        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        async with asyncio.timeout(20):
            received = await reader.read()
            await served.wait()
        writer.close()
        server.close()
        return received

    def run(write: Callable[[asyncio.Transport], None]) -> bytes:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(exchange(write))

    return run


def test_head_and_body(run: Callable[..., bytes]) -> None:
    def write(transport: asyncio.Transport) -> None:
        answer = Transport.of(Exchange(transport).send)
        answer.write(HEAD)
        answer.write(b"first")
        answer.write(b"second")

    assert run(write) == HEAD + b"firstsecond"


def test_a_head_without_a_body(run: Callable[..., bytes]) -> None:
    def write(transport: asyncio.Transport) -> None:
        answer = Transport.of(Exchange(transport).send)
        answer.write(HEAD)
        answer.write(b"")
        assert transport.get_write_buffer_size() == 0

    assert run(write) == HEAD


@pytest.mark.parametrize("held", [True, False])
def test_to_who_has_left_nothing_is_written(run: Callable[..., bytes], held: bool) -> None:
    watched = []

    def write(transport: asyncio.Transport) -> None:
        answer = Transport.of(Exchange(transport).send)
        if held:
            answer.write(HEAD)
        transport.abort()
        answer.write(HEAD)
        answer.write(b"body")
        answer.close()
        watched.append(transport.get_write_buffer_size())

    with suppress(ConnectionResetError):
        assert run(write) == b""
    assert watched == [0]
