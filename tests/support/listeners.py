"""Listeners who read only when they are told to, and what a service holds for them."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.exchange import exchange, head
from tests.support.service import AUTH, Service, open_files
from tests.support.sounds import wav
from tests.support.waiting import until

CONTENT = wav(1.0, rate=8_000_000)
"""16 MB: more than sockets hold."""


class Listener:
    """A connection whose other side reads only when told to."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.received = bytearray()

    @classmethod
    async def asking(cls, service: Service, path: str, *lines: str, ahead: bytes = b"") -> Listener:
        return await cls.sending(service, head("GET", path, *lines, closing=not ahead) + ahead)

    @classmethod
    async def sending(cls, service: Service, request: bytes) -> Listener:
        connection = socket.socket()
        # Little is on its way, so that a slow reader is felt at once.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, ("127.0.0.1", service.port))
        await loop.sock_sendall(connection, request)
        return cls(connection)

    async def read(self, size: int) -> bytes:
        async with asyncio.timeout(60):
            piece = await asyncio.get_running_loop().sock_recv(self._connection, size)
        self.received += piece
        return piece

    async def read_to_the_end(self) -> bytes:
        """What came in all."""
        while await self.read(1 << 20):
            pass
        self._connection.close()
        return bytes(self.received)

    def reset(self) -> None:
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()


async def add_large(service: Service, content: bytes = CONTENT) -> str:
    answer = await service.http.post("/play/upload", content=content, headers=AUTH)
    assert answer.status_code == 201
    path = f"/play/{answer.json()['id']}/stream"
    # From now on its file is kept for the next listener.
    await exchange(service.port, head("GET", path, "Range: bytes=-10"))
    return path


async def active(service: Service) -> float:
    return await service.metric("mosic_active_streams")


@asynccontextmanager
async def nothing_left(service: Service) -> AsyncIterator[None]:
    """Whatever happens inside, the service then has the tasks and files that it had before."""

    async def held() -> tuple[list[str], list[str]]:
        names = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        tasks = sorted(name for name in names if name.startswith("mosic"))
        return tasks, open_files(service.settings.media_root)

    async def connections() -> int:
        return len(asyncio.all_tasks())

    await service.http.get("/health")
    before, tasks_before = await held(), await connections()
    yield

    async def as_before() -> bool:
        await service.http.get("/health")
        return await held() == before and await connections() <= tasks_before

    await until(as_before)
    assert await active(service) == 0
