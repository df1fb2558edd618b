"""A made-up kind of work, whose results are counted in a table of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.core.runtime import Runtime
from mosic.core.works.asking import works_of
from mosic.db.clips import Clip
from mosic.db.works import Work
from mosic.settings.timings import Timings

QUICK = Timings(
    work_poll=0.05,
    work_tell=0.05,
    work_pause=0.05,
    work_longest_pause=0.2,
    work_give_back=30.0,
)

# For processes that are killed: others take over soon, but not from one that is only slow.
KILLED = replace(QUICK, work_lease=5.0)

_TABLE = "CREATE TABLE learnt (clip_id uuid PRIMARY KEY, word text, writes integer)"
_WRITE = (
    "INSERT INTO learnt VALUES (:clip_id, :word, 1)"
    " ON CONFLICT (clip_id) DO UPDATE SET word = excluded.word, writes = learnt.writes + 1"
)


async def make_table(rt: Runtime) -> None:
    async with rt.begin() as connection:
        await connection.execute(sa.text("DROP TABLE IF EXISTS learnt"))
        await connection.execute(sa.text(_TABLE))


async def learnt(rt: Runtime) -> dict[UUID, tuple[str, int]]:
    """By clip what was learnt last, and how often something was written."""
    async with rt.begin() as connection:
        rows = await connection.execute(sa.text("SELECT clip_id, word, writes FROM learnt"))
        return {row.clip_id: (row.word, row.writes) for row in rows}


@dataclass
class Word:
    """What a `Words` has learnt."""

    clip_id: UUID
    word: str
    dropped: list[str]

    async def write(self, connection: AsyncConnection) -> Sequence[str]:
        await connection.execute(sa.text(_WRITE), {"clip_id": self.clip_id, "word": self.word})
        return ()

    async def drop(self, _: Runtime) -> None:
        self.dropped.append(self.word)


@dataclass
class Words:
    """Learns the hash of a clip as a word. What `before` does comes first, in the time of the work."""

    before: Callable[[Clip], Awaitable[Any]] = field(default=lambda _: asyncio.sleep(0))
    kinds: Sequence[str] = ("word",)
    version: int = 1
    seen: list[UUID] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    async def learn(self, _: Runtime, clip: Clip) -> Word:
        self.seen.append(clip.id)
        await self.before(clip)
        assert clip.sha256
        return Word(clip.id, clip.sha256.hex(), self.dropped)


class Gate:
    """Holds each work up until it is opened, and says how many have come."""

    def __init__(self) -> None:
        self.come: list[UUID] = []
        self._open = asyncio.Event()

    def open(self) -> None:
        self._open.set()

    async def __call__(self, clip: Clip) -> None:
        self.come.append(clip.id)
        await self._open.wait()


async def only_work(rt: Runtime, clip: Clip) -> Work:
    (work,) = await works_of(rt, clip.id)
    return work


async def state_of(rt: Runtime, clip: Clip) -> str:
    return (await only_work(rt, clip)).state
