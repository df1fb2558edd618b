"""The clips that were played most over some days."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.db import days, pages
from mosic.db.clips import Clip

MOST_TOP = 100
# The sums of many days take a second, and every client may ask. They are made again only after so many times
# what they took.
_SPARED = 10


@dataclass(frozen=True, slots=True)
class Played:
    """A clip (cut like those on a page of the list), and how often it was played in some days."""

    plays: int
    clip: Clip


class TopClips:
    """One per process: it sums up once for all who ask at the same time, and for one after the other.

    Where the sums take long, the plays that come meanwhile are seen a few seconds later.
    """

    def __init__(self, begin: Callable[[], AbstractAsyncContextManager[AsyncConnection]]) -> None:
        self._begin = begin
        # By days: until when they may be used, ids and plays.
        self._known: dict[int, tuple[float, list[tuple[UUID, int]]]] = {}
        self._turn = asyncio.Lock()

    async def get(self, asked: int, limit: int) -> list[Played]:
        """The most played first, at most `MOST_TOP`; `asked` days, today included. Raises `Unavailable`."""
        found = self._fresh(asked)
        if found is None:
            async with self._turn:
                found = self._fresh(asked)
                if found is None:
                    found = await self._sum(asked)
        async with self._begin() as connection:
            there = await pages.some(connection, [clip_id for clip_id, _ in found])
        played = [Played(plays, there[clip_id]) for clip_id, plays in found if clip_id in there]
        return played[:limit]

    def _fresh(self, asked: int) -> list[tuple[UUID, int]] | None:
        until, found = self._known.get(asked, (0.0, []))
        return found if time.monotonic() < until else None

    async def _sum(self, asked: int) -> list[tuple[UUID, int]]:
        began = time.monotonic()
        async with self._begin() as connection:
            found = await days.most_played(connection, days=asked, limit=MOST_TOP)
        ended = time.monotonic()
        self._known[asked] = (ended + _SPARED * (ended - began), found)
        return found
