"""The one time limit that a connection has at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_SAME_SECONDS = 0.002  # timers of uvloop count milliseconds


class Deadline:
    """Calls `then` when its time has come, unless it is set anew or cleared before.

    Each request sets it and clears it. The timer of the event loop is left as it is, and looks when it is due
    what has become of it: to make a timer costs more than all the rest of this.
    """

    __slots__ = ("_due", "_loop", "_timer", "_timer_due", "then")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due = self._timer_due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.then: Callable[[], None] | None = None
        """None while there is no limit."""

    def set(self, seconds: float, then: Callable[[], None]) -> None:
        self.then = then
        self._due = self._loop.time() + seconds
        if self._timer is None:
            self._start_timer(seconds)
        elif self._timer_due > self._due:
            self._timer.cancel()
            self._start_timer(seconds)

    def clear(self) -> None:
        self.then = None

    def stop(self) -> None:
        """Clear it, and leave no timer: the connection is at its end."""
        self.then = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start_timer(self, seconds: float) -> None:
        self._timer_due = self._due
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        then = self.then
        if then is None:
            return
        left = self._due - self._loop.time()
        if left > _SAME_SECONDS:
            self._start_timer(left)
        else:
            self.then = None
            then()
