"""A response of bytes, ready to be sent, and where its bytes come from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, Self
from uuid import UUID

from mosic.blobs.base import OpenBlob
from mosic.core.plays import PlayCounter
from mosic.errors import RemoteFailed
from mosic.metrics.streams import StreamMetrics
from mosic.remote import RemoteResponse

Bytes = bytes | bytearray
Headers = tuple[tuple[bytes, bytes], ...]


class Body(Protocol):
    """What follows the first piece of a response. Must be closed, also when it is never read."""

    async def next(self, size: int) -> Bytes:
        """The next bytes, `size` of them at most when they come from a blob; empty at the end.

        The buffer is the caller's. Raises when the medium or the source fails.
        """
        ...

    async def close(self) -> None: ...


class Delivery:
    """A response: `first` and then `rest`. Everything that can fail has failed before there is one, but for
    the reading of `rest`.

    Use it as an async context manager, also when nothing of it is sent: it closes what it has open.
    """

    __slots__ = ("first", "headers", "rest", "sent", "status")

    def __init__(self, status: int, headers: Headers, first: Bytes = b"", rest: Body | None = None) -> None:
        self.status = status
        self.headers = headers
        self.first = first
        self.rest = rest
        self.sent = 0
        """How many bytes of the body were handed to the network so far."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.rest is not None:
            await self.rest.close()


class Stream(Delivery):
    """The audio of a clip. What was sent is counted, for the clip and in the metrics."""

    __slots__ = ("_clip_id", "_metrics", "_plays")

    def __init__(
        self,
        clip_id: UUID,
        metrics: StreamMetrics,
        plays: PlayCounter,
        status: int,
        headers: Headers,
        first: Bytes = b"",
        rest: Body | None = None,
    ) -> None:
        # Not by `super()`: this is on the way of every range that is sent.
        self.status = status
        self.headers = headers
        self.first = first
        self.rest = rest
        self.sent = 0
        self._clip_id = clip_id
        self._metrics = metrics
        self._plays = plays

    async def __aenter__(self) -> Self:
        if self.rest is not None:
            self._metrics.began()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.rest is not None:
            self._metrics.ended(self.sent)
            self._plays.add_bytes(self._clip_id, self.sent)
            await self.rest.close()
        elif self.sent:
            self._metrics.sent(self.sent)
            self._plays.add_bytes(self._clip_id, self.sent)


class BlobBody:
    """Spans of a blob, each after its framing, and `closing` after the last.

    A context manager, in whose block all spans are open, so that none is missing once bytes flow. After
    `stay_open` they stay so until `close`.
    """

    __slots__ = ("_blobs", "_closing", "_parts", "_sending", "_sent_parts", "_stays_open", "size")

    def __init__(
        self, parts: Sequence[tuple[bytes, AbstractAsyncContextManager[OpenBlob]]], closing: bytes = b""
    ) -> None:
        """There is at least one part; each comes with what `BlobStore.open` returns for its span."""
        self._parts = parts
        self._closing = closing
        self._blobs: list[OpenBlob] = []
        self._sending: OpenBlob | None = None
        self._sent_parts = 0
        self._stays_open = False

    async def __aenter__(self) -> Self:
        try:
            for _, opening in self._parts:
                self._blobs.append(await opening.__aenter__())
        except BaseException:
            await self.close()
            raise
        self.size = self._blobs[0].size
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._stays_open:
            await self.close()

    def stay_open(self) -> Self:
        self._stays_open = True
        return self

    async def next(self, size: int) -> Bytes:
        if self._sending is not None and (piece := await self._sending.read(size)):
            return piece
        if self._sent_parts < len(self._parts):
            framing, _ = self._parts[self._sent_parts]
            self._sending = self._blobs[self._sent_parts]
            self._sent_parts += 1
            return framing or await self._sending.read(size)
        self._sending = None
        closing, self._closing = self._closing, b""
        return closing

    async def close(self) -> None:
        opened, self._blobs = len(self._blobs), []
        for _, opening in self._parts[:opened]:
            await opening.__aexit__(None, None, None)


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


async def read_rest(blob: OpenBlob, first: Bytes, size: int) -> Bytes:
    """`first` and what comes after it, `size` bytes in all, which the span must have. Raises `OSError`."""
    whole = bytearray(first)
    while len(whole) < size:
        whole += await blob.read(size - len(whole))
    return whole
