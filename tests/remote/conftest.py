"""A source of external audio: a real server on loopback that does what a test tells it to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from mosic.remote import Remote
from mosic.wire.retrieval import Retrieval, read_retrieval

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def requested(fields: Mapping[str, str], method: str = "GET") -> Retrieval:
    return read_retrieval(method, {name.lower(): value for name, value in fields.items()}, lambda: NOW)


Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Source:
    """Answers each request with `answer`: bytes as they are, or a coroutine that gets the head and a writer.

    A coroutine that raises ConnectionError cuts the connection. `ended` is set once a connection is over.
    """

    def __init__(self, answer: bytes | Answer) -> None:
        self.heads: list[bytes] = []
        self.connections = 0
        self.ended = asyncio.Event()
        self.reader = asyncio.StreamReader()
        self._answer = answer
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """Gives the URL of a song at this source."""
        server = await asyncio.start_server(self._serve, host, 0, ssl=tls)
        try:
            yield f"{'https' if tls else 'http'}://{host}:{server.sockets[0].getsockname()[1]}/song.mp3"
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks)
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.reader = reader
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                if not isinstance(self._answer, bytes):
                    await self._answer(self.heads[-1], writer)
                    continue
                writer.write(self._answer)
                await writer.drain()
                if b"Content-Length" not in self._answer:
                    writer.close()
                    await writer.wait_closed()
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.ended.set()
            writer.transport.abort()


@pytest.fixture
def source() -> type[Source]:
    """Test files cannot import from here by name; they get the class."""
    return Source


@pytest.fixture
async def remote() -> AsyncIterator[Remote]:
    async with Remote(allow_private=True, timeout_seconds=60) as remote:
        yield remote


@pytest.fixture
async def impatient() -> AsyncIterator[Remote]:
    async with Remote(allow_private=True, timeout_seconds=1) as remote:
        yield remote
