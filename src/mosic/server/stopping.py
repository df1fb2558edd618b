"""The time between the signal to stop and the end of taking connections."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

# One signal may arrive twice: sent to the whole process group, and passed on by the parent of workers.
_SAME_SIGNAL_SECONDS = 0.5


@asynccontextmanager
async def told_to_stop(flag: asyncio.Event, delay_seconds: float) -> AsyncIterator[None]:
    """Set the flag on SIGTERM, and pass the signal on to the server only after the delay.

    A server closes its socket as soon as it gets the signal, and load balancers have to learn of it before.
    A second signal ends the delay. Where signals cannot be handled (in a thread, or when the server handles
    them in another way than by Python's `signal`) this does nothing.
    """
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    server = before
    loop = asyncio.get_running_loop()
    received_at = 0.0
    waiting = passed = False

    def pass_on(number: int) -> None:
        """After the delay, unless a second signal has ended it: to the server that would be two signals."""
        if not passed:
            server(number, None)

    def receive(number: int, frame: FrameType | None) -> None:
        nonlocal received_at, waiting, passed
        now = time.monotonic()
        if waiting and now - received_at < _SAME_SIGNAL_SECONDS:
            return
        received_at = now
        waiting = delay_seconds > 0 and not flag.is_set()
        # Signals are handled between two instructions of the main thread, which is the loop's.
        flag.set()
        if waiting:
            loop.call_soon_threadsafe(loop.call_later, delay_seconds, pass_on, number)
        else:
            passed = True
            server(number, frame)

    signal.signal(signal.SIGTERM, receive)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is receive:
            signal.signal(signal.SIGTERM, before)
