"""What ASGI has no words for: how much of a response is kept in memory, and whether its client is there.

uvicorn's `send` belongs to an object that has the connection's transport. It is reached from there where it
can be. With another server, or should uvicorn change, responses stay the same and only cost more.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from socket import AF_UNIX, IPPROTO_TCP
from typing import Any

from mosic.server.asgi import Send

# Linux and macOS have it: https://docs.kernel.org/networking/ip-sysctl.html (tcp_notsent_lowat).
_TCP_NOTSENT_LOWAT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_UNSENT_BYTES = 128 * 1024


def unacknowledged(transport: asyncio.WriteTransport) -> int:
    """Bytes that the other side has not taken yet: those here and, where it can tell, in the kernel.

    A kernel whose memory for a client is full takes more only when a good part of it is free again, which for
    one who reads 1 KB a second may be after a quarter of an hour.
    """
    size = transport.get_write_buffer_size()
    connection = transport.get_extra_info("socket")
    try:
        (waiting,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))
    except (OSError, AttributeError):
        return size
    return size + int(waiting)


class Transport:
    """That of one exchange, for the sender of a large response."""

    __slots__ = ("_bounded", "_exchange", "_server")

    def __init__(self, server: Any, exchange: Any = None) -> None:
        self._server = server
        self._exchange = exchange
        self._bounded = False

    @classmethod
    def of(cls, send: Send) -> Transport:
        """That of the server whose own `send` this is."""
        exchange: Any = getattr(send, "__self__", None)
        return cls(getattr(exchange, "transport", None), exchange)

    def end(self) -> None:
        """The exchange is over. Otherwise each request would leave objects that refer to each other, which
        only the garbage collector can free; it would run all the time."""
        self._exchange = None

    def give_up(self) -> None:
        """End a response that will not be whole, because the client has left.

        The exchange learns that a little later, and would log the early end of the application as an error.
        """
        if hasattr(self._exchange, "disconnected"):
            self._exchange.disconnected = True
        self._server.close()

    def is_closing(self) -> bool:
        """Whether the connection is at its end; False where that cannot be told."""
        ask = getattr(self._server, "is_closing", None)
        return ask is not None and ask()

    def wait_when_not_empty(self) -> None:
        """From now on `send` waits while anything is unsent. The server's own bound, 64 KiB, would be most of
        what a slow listener costs."""
        if not self._bounded:
            self._bounded = True
            if not self.is_closing():
                self._bound(0)
                self._bound_kernel()

    def wait_when_full(self) -> None:
        """As it was."""
        if self._bounded and not self.is_closing():
            self._bound(None)
        self._bounded = False

    def _bound(self, size: int | None) -> None:
        set_limits = getattr(self._server, "set_write_buffer_limits", None)
        if set_limits is not None:
            set_limits(size)

    def _bound_kernel(self) -> None:
        """Let the kernel hold little that is not on its way yet.

        By itself it takes as much as it would need for the fastest of clients, up to megabytes for each. What
        is on its way is not counted, so that nobody gets less of a fast network.
        """
        ask = getattr(self._server, "get_extra_info", None)
        connection = ask("socket") if ask is not None else None
        if _TCP_NOTSENT_LOWAT is not None and connection is not None and connection.family != AF_UNIX:
            connection.setsockopt(IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
