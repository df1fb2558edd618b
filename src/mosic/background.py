"""Background loops of a service, all kept running in one place.

A loop handles the errors that it has to expect: a database that is away, a disk that is full. Any other
exception is a fault. It is logged and counted, and the loop starts again after a pause. `/ready` shows a loop
that keeps failing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

_log = structlog.get_logger("mosic.background")

Loop = Callable[[], Coroutine[Any, Any, None]]

_PAUSE_SECONDS = 30.0
# So many failures one after the other are no accident.
_MANY = 3
# Who has run for so long is well again.
_WELL_SECONDS = 60.0


@dataclass(slots=True)
class _Failures:
    """One after the other, of one loop."""

    count: int = 0
    last: float = 0.0


class Background:
    """The loops of one service. The code that starts one also ends it, by `end`."""

    def __init__(
        self, on_failure: Callable[[str], None] | None = None, *, first_pause_seconds: float = 0.2
    ) -> None:
        """`on_failure` is called with the name of a loop each time that it fails. The pause before it starts
        again doubles with each failure."""
        self._on_failure = on_failure
        self._first_pause = first_pause_seconds
        self._failures: dict[str, _Failures] = {}

    def start(self, name: str, loop: Loop) -> asyncio.Task[None]:
        """Run the loop until its task is cancelled or it returns. `name` is a label of a metric."""
        return asyncio.create_task(self._keep(name, loop), name=f"mosic-{name}")

    def failing(self) -> list[str]:
        """Names of those that fail again and again."""
        since = time.monotonic() - _WELL_SECONDS - _PAUSE_SECONDS
        return sorted(
            name for name, failed in self._failures.items() if failed.count >= _MANY and failed.last > since
        )

    async def _keep(self, name: str, loop: Loop) -> None:
        failed = self._failures.setdefault(name, _Failures())
        pause = self._first_pause
        while True:
            began = time.monotonic()
            try:
                await loop()
                return
            except Exception:
                _log.exception("a background loop failed", loop=name)
            failed.last = time.monotonic()
            if failed.last - began >= _WELL_SECONDS:
                failed.count, pause = 0, self._first_pause
            failed.count += 1
            if self._on_failure is not None:
                self._on_failure(name)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSE_SECONDS)


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, such as `Background` has started, and wait for their ends."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
