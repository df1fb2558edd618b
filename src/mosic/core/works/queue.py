"""What a process knows of the works that wait: which kinds there are, and when to look for more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress


class WorkQueue:
    """One per process. The works themselves are rows, which any process on the database takes."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self.kinds: tuple[str, ...] = tuple(kinds)
        """Which each clip that has its bytes here gets."""
        self._calls = 0
        self._waiting: set[asyncio.Future[None]] = set()
        self._more = asyncio.Event()

    def made(self) -> None:
        """This process has committed new works. Nothing here waits."""
        if not self.kinds:
            return
        if all(waiter.done() for waiter in self._waiting):
            self._more.set()
        self.call()

    def call(self) -> None:
        """There may be works: those who wait look again."""
        self._calls += 1
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    @property
    def calls(self) -> int:
        """To be read before looking for works, and given to `called`."""
        return self._calls

    async def called(self, calls: int, seconds: float) -> None:
        """Wait for a call since then, or for so long."""
        if self._calls != calls:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await waiter
        finally:
            self._waiting.discard(waiter)

    async def more_than_here(self) -> None:
        """Wait until works were made while no task of this process was free to take them."""
        await self._more.wait()
        self._more.clear()
