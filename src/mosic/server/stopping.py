"""From the signal to stop until the server obeys it."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

# What is one signal to its sender may come twice: to the whole group, and from the parent of workers.
_SAME_SIGNAL_SECONDS = 0.5


@asynccontextmanager
async def told_to_stop(flag: asyncio.Event, delay_seconds: float) -> AsyncIterator[None]:
    """Sets the flag on SIGTERM, and gives the signal to the server only after the delay.

    A server closes its socket as soon as it hears of a signal; who sends requests here has to be told before.
    A second signal ends the delay. Where signals cannot be heard (in a thread, or when the server listens to
    them in another way than Python's own) this does nothing.
    """
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    server = before
    loop = asyncio.get_running_loop()
    heard_at = 0.0
    waiting = passed = False

    def pass_on(number: int) -> None:
        """When the delay is over, unless a second signal has ended it: the server would take them for two."""
        if not passed:
            server(number, None)

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal heard_at, waiting, passed
        now = time.monotonic()
        if waiting and now - heard_at < _SAME_SIGNAL_SECONDS:
            return
        heard_at = now
        waiting = delay_seconds > 0 and not flag.is_set()
        # Signals are handled between two instructions of the main thread, which is the loop's.
        flag.set()
        if waiting:
            loop.call_soon_threadsafe(loop.call_later, delay_seconds, pass_on, number)
        else:
            passed = True
            server(number, frame)

    signal.signal(signal.SIGTERM, hear)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is hear:
            signal.signal(signal.SIGTERM, before)
