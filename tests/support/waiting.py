"""Waits for what happens, as long as a machine may take that is ten times slower than most."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

SECONDS = 120


async def until(
    condition: Callable[[], object | Awaitable[object]], what: Callable[[], object] = str
) -> None:
    """Until the condition, or what it is awaited for, is true; `what` tells a failure what was instead."""
    deadline = time.monotonic() + SECONDS
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return
        assert time.monotonic() < deadline, what()
        await asyncio.sleep(0.01)


def wait_until(condition: Callable[[], object], what: Callable[[], object] = str) -> None:
    """The same for a test without an event loop."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.01)
