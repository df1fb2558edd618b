"""Delivery → ASGI messages."""

from __future__ import annotations

import asyncio
from time import perf_counter

from starlette.types import Message, Receive, Send

from mosic.core.delivery import Body, Delivery
from mosic.errors import ClientDisconnected
from mosic.server.transport import Transport

_START = "http.response.start"
_BODY = "http.response.body"
_NOTHING: Message = {"type": _BODY, "body": b"", "more_body": True}
_END: Message = {"type": _BODY, "body": b""}

# A piece is what the client takes in so much time, within bounds: few and large ones for those who are quick;
# and of those who are slow, and may be thousands, no more in memory than is needed.
_PIECE_SECONDS = 0.02
_LEAST_PIECE = 16 * 1024
_FIRST_PIECE = 32 * 1024
_MOST_PIECE = 256 * 1024
# Who has taken so much without a wait is quick: it is more than the kernel holds for one who is not.
_QUICK_BYTES = 512 * 1024
_PAGE = 4096
# A shorter wait is none: the time that the call takes.
_WAIT_SECONDS = 0.0001
# A client that takes everything at once must leave the others their turn.
_TURN = 1024 * 1024


async def send_delivery(delivery: Delivery, receive: Receive, send: Send, transport: Transport) -> None:
    """Send the response; the caller, who opened it, closes it.

    Stops soon after the client has left, with `ClientDisconnected`. A failure in the middle of the body
    raises: the connection is then cut, which is the only way left to say that the response is not whole.
    """
    await send({"type": _START, "status": delivery.status, "headers": delivery.headers})
    if delivery.rest is not None:
        await _send_pieces(delivery, delivery.rest, receive, send, transport)
        return
    await send({"type": _BODY, "body": delivery.first})
    delivery.sent = len(delivery.first)


async def _send_pieces(
    delivery: Delivery, rest: Body, receive: Receive, send: Send, transport: Transport
) -> None:
    gone = asyncio.ensure_future(_until_gone(receive))
    pace = _Pace()
    try:
        # Not to be held until the end: of slow listeners there may be thousands.
        piece, delivery.first = delivery.first, b""
        while piece:
            await send({"type": _BODY, "body": piece, "more_body": True})
            delivery.sent += len(piece)
            if pace.took(len(piece)):
                await asyncio.sleep(0)
            transport.wait_when_not_empty()
            before = perf_counter()
            # Here the client is waited for, so that no more is read before it has taken the last piece.
            await send(_NOTHING)
            pace.waited(before, perf_counter())
            # uvicorn reports the end of a connection to its last request, which may wait behind this one.
            if gone.done() or transport.is_closing():
                raise ClientDisconnected
            piece = await rest.next(pace.size)
        await send(_END)
    finally:
        gone.cancel()
        transport.wait_when_full()


class _Pace:
    """How large the pieces for a client are: what it takes in `_PIECE_SECONDS`, as far as that is known."""

    __slots__ = ("_since", "_taken", "_turn", "size")

    def __init__(self) -> None:
        self.size = _FIRST_PIECE
        self._taken = self._turn = 0
        self._since = perf_counter()

    def took(self, size: int) -> bool:
        """The client was sent so much; True when others should have their turn."""
        self._taken += size
        self._turn += size
        if self._taken > _QUICK_BYTES:
            self.size = _MOST_PIECE
        if self._turn < _TURN:
            return False
        self._turn = 0
        return True

    def waited(self, before: float, now: float) -> None:
        """The client had taken everything at `now`, and not yet at `before` if that is long ago."""
        if now - before < _WAIT_SECONDS:
            return
        self._turn = 0
        rate = self._taken / (now - self._since)
        self.size = max(_LEAST_PIECE, min(_MOST_PIECE, int(rate * _PIECE_SECONDS) // _PAGE * _PAGE))
        self._taken, self._since = 0, now


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
