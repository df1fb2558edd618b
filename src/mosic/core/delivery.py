"""An answer with audio, ready to be sent, and where its bytes come from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from mosic.blobs.base import OpenBlob
from mosic.errors import RemoteFailed
from mosic.remote import RemoteResponse
from mosic.wire.ranges import Slice

Bytes = bytes | bytearray
Headers = tuple[tuple[bytes, bytes], ...]


class Body(Protocol):
    """What follows the first piece of an answer. Must be closed, also when it is never read."""

    async def next(self, size: int) -> Bytes:
        """The next bytes, `size` of them at most when they come from a blob; empty at the end.

        The buffer is the caller's. Raises when the medium or the source fails.
        """
        ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class Stream:
    """An answer about a clip: `first` and then `rest`. Must be closed, also when it is never read."""

    clip_id: UUID
    status: int
    headers: Headers
    first: Bytes = b""
    rest: Body | None = None
    sent: int = 0
    """How much of it was handed to the network so far."""

    async def close(self) -> None:
        if self.rest is not None:
            await self.rest.close()


class BlobBody:
    """Slices of an open blob, each after its framing, and `closing` after the last. Closes the blob."""

    __slots__ = ("_at", "_blob", "_closing", "_parts", "_stop")

    def __init__(self, blob: OpenBlob, parts: Iterable[tuple[bytes, Slice]], closing: bytes = b"") -> None:
        self._blob = blob
        self._parts = iter(parts)
        self._closing = closing
        self._at = self._stop = 0

    async def next(self, size: int) -> Bytes:
        if self._at == self._stop:
            framing = self._next_part()
            if framing:
                return framing
        size = min(size, self._stop - self._at)
        if not size:
            return b""
        piece = self._blob.read_now(self._at, size) or await self._blob.read(self._at, size)
        if not piece:
            raise OSError("the blob became shorter while it was read")
        self._at += len(piece)
        return piece

    def _next_part(self) -> bytes:
        for framing, part in self._parts:
            self._at, self._stop = part.start, part.stop
            return framing
        closing, self._closing = self._closing, b""
        return closing

    async def close(self) -> None:
        self._blob.close()


class RemoteBody:
    """The bytes of an external source, as they come; `RemoteFailed` when they are not as many as it said."""

    def __init__(self, response: RemoteResponse) -> None:
        self._response = response
        self._left = response.head.length

    async def next(self, size: int) -> Bytes:
        piece = await anext(self._response.body, b"")
        if self._left is not None:
            self._left -= len(piece)
            if self._left < 0 or (self._left and not piece):
                raise RemoteFailed("The external source sent more or fewer bytes than it announced.")
        return piece

    async def close(self) -> None:
        await self._response.close()


async def read_exactly(blob: OpenBlob, start: int, size: int) -> Bytes:
    """So many bytes, waiting for them; raises `OSError` when there are not as many."""
    read = await blob.read(start, size)
    if len(read) == size:
        return read
    whole = bytearray(read)
    while len(whole) < size:
        more = await blob.read(start + len(whole), size - len(whole))
        if not more:
            raise OSError("the blob became shorter while it was read")
        whole += more
    return whole
