"""From the signal to stop until the server obeys it."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType


@asynccontextmanager
async def told_to_stop(flag: asyncio.Event, delay_seconds: float) -> AsyncIterator[None]:
    """Sets the flag on SIGTERM, and gives the signal to the server only after the delay.

    A server closes its socket as soon as it hears of a signal; who sends requests here has to be told before.
    A second signal is passed on at once. Where signals cannot be heard (another thread, a server that listens
    to them in its own way) this does nothing.
    """
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    server = before
    loop = asyncio.get_running_loop()

    def hear(number: int, frame: FrameType | None) -> None:
        again = flag.is_set()
        loop.call_soon_threadsafe(flag.set)
        if again or not delay_seconds:
            server(number, frame)
        else:
            loop.call_soon_threadsafe(loop.call_later, delay_seconds, server, number, None)

    signal.signal(signal.SIGTERM, hear)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is hear:
            signal.signal(signal.SIGTERM, before)
