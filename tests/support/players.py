"""Listeners in numbers: bare connections that ask, read whole answers and count them."""

from __future__ import annotations

import asyncio
import re
import socket
from collections import Counter

from tests.support.exchange import head
from tests.support.resets import reset

_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n")


class Player:
    """One connection, kept alive."""

    def __init__(self, port: int, *, ahead: int = 65536) -> None:
        """Takes up to `ahead` bytes more than was asked of it, or twice as many."""
        self._port = port
        self._ahead = ahead
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def connect(self) -> Player:
        # A small window: what a slow reader does not read is soon felt on the other side.
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self._port))
            self._streams = await asyncio.open_connection(sock=connection, limit=self._ahead)
        except BaseException:
            connection.close()
            raise
        return self

    async def ask(self, path: str, *lines: str, method: str = "GET") -> int:
        """Send a request and read the head of its answer: the status."""
        return (await self._ask(path, *lines, method=method))[0]

    async def _ask(self, path: str, *lines: str, method: str = "GET") -> tuple[int, int]:
        if self._streams is None:
            await self.connect()
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(head(method, path, *lines, closing=False))
        received = await reader.readuntil(b"\r\n\r\n")
        found = _LENGTH.search(received)
        return int(received[9:12]), int(found[1]) if found else 0

    async def hear(self, path: str, *lines: str) -> int:
        """Ask, and read all: the status. What ends early raises `IncompleteReadError`."""
        status, length = await self._ask(path, *lines)
        await self.read_exactly(length)
        return status

    async def read_exactly(self, size: int) -> bytes:
        assert self._streams is not None
        return await self._streams[0].readexactly(size)

    async def read(self, size: int) -> bytes:
        assert self._streams is not None
        return await self._streams[0].read(size)

    def send(self, path: str, *lines: str) -> None:
        """Ask and do not wait."""
        assert self._streams is not None
        self._streams[1].write(head("GET", path, *lines, closing=False))

    async def reset(self) -> None:
        """Leave without a goodbye, as a phone does that loses its network."""
        if self._streams is not None:
            writer, self._streams = self._streams[1], None
            reset(writer)
            await asyncio.sleep(0)


class Crowd:
    """Players that play one clip over and over, until their connections end or they are told to stop."""

    def __init__(self, port: int, path: str, count: int) -> None:
        self._port, self._path, self.count = port, path, count
        self.answers: Counter[int] = Counter()
        self.cut = 0
        """Plays that were asked for and never answered."""
        self._stopping = False

    async def play(self) -> None:
        await asyncio.gather(*(self._play() for _ in range(self.count)))

    async def _play(self) -> None:
        player = Player(self._port)
        try:
            await player.connect()
            while not self._stopping:
                self.cut += 1
                status = await player.ask(self._path, "Range: bytes=0-99")
                self.cut -= 1
                self.answers[status] += 1
                await player.read(65536)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            await player.reset()

    def stop(self) -> None:
        self._stopping = True

    @property
    def answered(self) -> int:
        return sum(count for status, count in self.answers.items() if status in (200, 206))
