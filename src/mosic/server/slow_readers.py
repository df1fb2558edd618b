"""Clients that take nothing of what is sent to them."""

from __future__ import annotations

import asyncio

from mosic.server.transport import unacknowledged


class SlowReaderWatch:
    """Ends the connection of a client that takes nothing for `patience` seconds.

    uvicorn has no limit, and such a client costs a descriptor and a piece of memory all that time.
    """

    __slots__ = ("_loop", "_patience", "_timer", "_transport")

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, patience: float
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._patience = patience
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """While something waits to be taken."""
        if self._timer is None:
            before = unacknowledged(self._transport)
            self._timer = self._loop.call_later(self._patience, self._look, before)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, before: int) -> None:
        self._timer = None
        if not self._transport.get_write_buffer_size():
            return
        if unacknowledged(self._transport) == before:
            self._transport.abort()
        else:
            self.start()
