"""What becomes of the works of a clip, and having some learnt again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from mosic.core.runtime import Runtime
from mosic.db import clips, workcounts, works
from mosic.db.works import Count, Failed, Work
from mosic.errors import ClipNotFound

_CLIPS_AT_ONCE = 500
_FIRST_ID = UUID(int=0)


async def works_of(rt: Runtime, clip_id: UUID) -> list[Work]:
    """In the order of their kinds. Raises `ClipNotFound`."""
    async with rt.begin() as connection:
        if not await clips.is_there(connection, clip_id):
            raise ClipNotFound
        return await works.of_clip(connection, clip_id)


async def repeat(rt: Runtime, clip_id: UUID, kinds: Collection[str]) -> int:
    """Have these learnt (again) of the clip, like those of a fresh upload; says how many that are: none of an
    external clip. Raises `ClipNotFound`."""
    async with rt.begin() as connection:
        if await clips.get(connection, clip_id, lock=True) is None:
            raise ClipNotFound
        made = await works.repeat(connection, clip_id, kinds)
        await works.tell(connection)
    rt.works.made()
    return made


async def repeat_all(rt: Runtime, kind: str) -> AsyncGenerator[int]:
    """Have one kind learnt again of every clip, after all that fresh uploads need. Yields after each batch
    how many works wait by then because of it; those that were waiting or running are left as they are."""
    after: UUID | None = _FIRST_ID
    made = 0
    while after is not None:
        async with rt.begin() as connection:
            after, count = await works.repeat_all(connection, kind, after=after, limit=_CLIPS_AT_ONCE)
            await works.tell(connection)
        rt.works.made()
        made += count
        yield made


@dataclass(frozen=True, slots=True)
class Counted:
    """Works by kind and state, and the time of the database."""

    counts: list[Count]
    at: datetime


async def count(rt: Runtime) -> Counted:
    async with rt.begin() as connection:
        return Counted(await workcounts.counts(connection), await workcounts.now(connection))


async def left(rt: Runtime, kind: str) -> int:
    """How many that `repeat_all` asked for are not done."""
    async with rt.begin() as connection:
        return await workcounts.left(connection, kind)


async def failed_since(rt: Runtime, kind: str, since: datetime, *, limit: int) -> list[Failed]:
    """Those that `repeat_all` asked for and that have failed since then."""
    async with rt.begin() as connection:
        return await workcounts.failed_since(connection, kind, since, limit)
