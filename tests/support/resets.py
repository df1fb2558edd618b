"""Leave without a goodbye, as a process does that is killed or a phone that loses its network."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress


def reset(writer: asyncio.StreamWriter) -> None:
    """The other side gets a reset, unless it was quicker."""
    reset_when_closed(writer)
    writer.transport.abort()


def reset_when_closed(writer: asyncio.StreamWriter) -> None:
    """Whoever closes the connection next resets it."""
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None:  # uvloop has none any more once the other side has closed
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
