"""Connections that break, are slow, or end somewhere else: between a client and a service."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Relay:
    """Passes connections on to a port.

    `sent` counts the bytes that came from clients; when it comes to `cut_at` every connection is cut, once.
    `received` and `cut_back_at` are the same for what the service sends, of which all arrives before. `rate`
    is in bytes a second. `instead` are answers to the next connections, given in place of the service's.
    `heads` is the beginning of what came from clients.
    """

    def __init__(self, target: int, port: int) -> None:
        self._target = target
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.sent = 0
        self.patches = 0
        self.received = 0
        self.heads = b""
        self.cut_at: int | None = None
        self.cut_back_at: int | None = None
        self.rate: float | None = None
        self.instead: list[bytes] = []
        self.connected_at: list[float] = []
        self._open: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self.connected_at.append(time.monotonic())
        if self.instead:
            await client.readuntil(b"\r\n\r\n")
            back.write(self.instead.pop(0))
            back.close()
            return
        try:
            service, forth = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            back.transport.abort()
            return
        pair = {back, forth}
        self._open |= pair
        try:
            await asyncio.gather(self._forth(client, forth), self._back(service, back))
        except OSError:
            pass
        finally:
            for writer in pair:
                writer.transport.abort()
            self._open -= pair

    async def _forth(self, client: asyncio.StreamReader, forth: asyncio.StreamWriter) -> None:
        while chunk := await client.read(16 * 1024):
            self.sent += len(chunk)
            self.heads = (self.heads + chunk)[:65536]
            self.patches += chunk.count(b"PATCH /play/uploads/")
            forth.write(chunk)
            await forth.drain()
            if self.cut_at is not None and self.sent >= self.cut_at:
                self.cut_at = None
                self.cut()
            if self.rate is not None:
                await asyncio.sleep(len(chunk) / self.rate)
        raise ConnectionResetError

    async def _back(self, service: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while chunk := await service.read(16 * 1024):
            self.received += len(chunk)
            back.write(chunk)
            await back.drain()
            if self.cut_back_at is not None and self.received >= self.cut_back_at:
                self.cut_back_at = None
                # In order: an abort would also lose what the client has not read yet.
                for writer in self._open:
                    writer.close()
                return
        raise ConnectionResetError


@asynccontextmanager
async def relaying(target: int, port: int = 0) -> AsyncIterator[Relay]:
    # A small window, or the kernel would take megabytes ahead.
    listening = socket.create_server(("127.0.0.1", port))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    relay = Relay(target, listening.getsockname()[1])
    server = await asyncio.start_server(relay.serve, sock=listening, limit=16 * 1024)
    try:
        yield relay
    finally:
        server.close()
        relay.cut()


@asynccontextmanager
async def cutting_every(size: int, relay: Relay) -> AsyncIterator[None]:
    """While the block runs, every connection is cut each time so many bytes have been sent."""

    async def cut_often() -> None:
        while True:
            relay.cut_at = relay.sent + size
            while relay.cut_at is not None:
                await asyncio.sleep(0.001)

    cutting = asyncio.create_task(cut_often())
    try:
        yield
    finally:
        cutting.cancel()
