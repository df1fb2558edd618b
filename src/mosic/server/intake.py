"""Large bodies, from the kernel into the memory that the disk is written from."""

from __future__ import annotations

import asyncio

from mosic.server.protocol import MosicProtocol

LARGE = 256 * 1024
"""Bytes that have to be still to come, or it is not worth the trouble; also the first buffer."""

_LEAST, _MOST = 16 * 1024, 1024 * 1024
# How long a chunk may grow before whoever waits for it gets it as it is.
_GATHER_SECONDS = 0.05


class Intake(asyncio.BufferedProtocol):
    """Stands in for the protocol of a connection while the rest of a large body arrives.

    Otherwise each piece is copied twice on its way, by uvloop and by the parser, and wakes the application,
    for 64 KiB at a time. Here the kernel's copy is the only one, and a piece is up to a MiB. No byte behind
    the body is read, so that a next request finds its own.
    """

    def __init__(self, connection: MosicProtocol, size: int) -> None:
        """`size`: bytes that are still to come, at least one."""
        self._connection = connection
        self._left = size
        self._buffer = bytearray(min(LARGE, self._left))
        self._filled = 0
        self._begun = asyncio.Event()
        self._full = asyncio.Event()
        self._ended = False
        connection.lend_body(self)

    async def read(self) -> bytearray:
        """The next bytes, for the caller to keep; none at the end of the body or of the connection.

        Cancelled, it has taken nothing.
        """
        await self._begun.wait()
        if not self._full.is_set():
            try:
                async with asyncio.timeout(_GATHER_SECONDS):
                    await self._full.wait()
            except TimeoutError:
                pass
        return self._take()

    def _take(self) -> bytearray:
        chunk, self._buffer = self._buffer, bytearray()
        del chunk[self._filled :]
        if self._left:
            self._buffer = bytearray(min(max(2 * self._filled, _LEAST), _MOST, self._left))
        self._filled = 0
        if not self._ended:
            self._begun.clear()
            self._full.clear()
            self._connection.flow.resume_reading()
        return chunk

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)[self._filled : self._filled + self._left]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        self._left -= nbytes
        self._begun.set()
        if not self._left:
            self._end()
            self._connection.take_back_body()
        elif self._filled == len(self._buffer):
            self._full.set()
            self._connection.flow.pause_reading()

    def _end(self) -> None:
        self._ended = True
        self._begun.set()
        self._full.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()
