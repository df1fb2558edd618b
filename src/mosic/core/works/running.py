"""The loops that take works and learn what is asked, in a service and in `mosic work`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

import structlog

from mosic.background import end
from mosic.core.runtime import Runtime
from mosic.core.works.attempt import attempt
from mosic.core.works.bounds import MOST_ATTEMPTS
from mosic.core.works.kinds import Learns
from mosic.db import works
from mosic.db.works import AGAIN, FRESH, Taken
from mosic.errors import Unavailable

_log = structlog.get_logger("mosic.works")

# After so many fresh ones in a row, one that a whole library needs gets its turn.
_FRESH_IN_A_ROW = 20
_CLIPS_AT_ONCE = 500
_FIRST_ID = UUID(int=0)


@asynccontextmanager
async def working(rt: Runtime, groups: Sequence[Learns], *, at_once: int, fills: bool) -> AsyncIterator[None]:
    """Does up to `at_once` works at a time until the block ends; then what is not finished is given back.
    With `fills`, clips that lack works of these kinds get them, once."""
    tasks = []
    if groups:
        tasks.append(rt.background.start("works-tell", partial(_tell_others, rt)))
    if groups and at_once:
        turns = _Turns()
        for _ in range(at_once):
            tasks.append(rt.background.start("works", partial(_work, rt, groups, turns)))
        tasks.append(rt.background.start("works-net", partial(_take_over, rt)))
        if fills:
            tasks.append(rt.background.start("works-fill", partial(_fill, rt)))
    try:
        yield
    finally:
        await end(*tasks)


class _Turns:
    """Which priority is looked for first: fresh works, but for a turn now and then."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def order(self) -> tuple[int, int]:
        return (AGAIN, FRESH) if self._in_a_row >= _FRESH_IN_A_ROW else (FRESH, AGAIN)

    def taken(self, priority: int) -> None:
        self._in_a_row = self._in_a_row + 1 if priority == FRESH else 0


async def _work(rt: Runtime, groups: Sequence[Learns], turns: _Turns) -> None:
    timings = rt.settings.timings
    by_kind = {kind: group for group in groups for kind in group.kinds}
    while True:
        calls = rt.works.calls
        try:
            taken = await _take(rt, groups, turns)
        except Unavailable:
            # `DatabaseState` has said so.
            await asyncio.sleep(timings.work_poll)
            continue
        if taken is None:
            await rt.works.called(calls, timings.work_poll)
        elif not await attempt(rt, by_kind[taken.kinds[0]], taken):
            await asyncio.sleep(timings.work_poll)


async def _take(rt: Runtime, groups: Sequence[Learns], turns: _Turns) -> Taken | None:
    kinds = [tuple(group.kinds) for group in groups]
    for priority in turns.order():
        async with rt.begin() as connection:
            taken = await works.take(
                connection,
                kinds,
                priority=priority,
                token=uuid.uuid4(),
                lease_seconds=rt.settings.timings.work_lease,
            )
        if taken is not None:
            turns.taken(priority)
            return taken
    return None


async def _take_over(rt: Runtime) -> None:
    """The net below all calls: what a dead process has, and what was made without a word, is found."""
    timings = rt.settings.timings
    while True:
        try:
            async with rt.begin() as connection:
                found = await works.take_over(
                    connection,
                    most_attempts=MOST_ATTEMPTS,
                    lease_seconds=timings.work_lease,
                    longest_pause=timings.work_longest_pause,
                )
        except Unavailable:
            found = []
        for kind, state in found:
            _log.warning("the process that did a work has ended", kind=kind, state=state)
            rt.metrics.works.ended(kind, "abandoned")
        if found:
            rt.works.call()
        await asyncio.sleep(timings.work_poll)


async def _tell_others(rt: Runtime) -> None:
    """Say to other processes that there is more to do than can be done here. Not by each upload: PostgreSQL
    lets transactions that notify commit only one after the other."""
    while True:
        await rt.works.more_than_here()
        try:
            async with rt.begin() as connection:
                await works.tell(connection)
        except Unavailable:
            pass  # they look by themselves
        await asyncio.sleep(rt.settings.timings.work_tell)


async def _fill(rt: Runtime) -> None:
    """Give every clip the works that it lacks: of before an update, of a restore, of a kind that is new."""
    after: UUID | None = _FIRST_ID
    made = 0
    while after is not None:
        try:
            async with rt.begin() as connection:
                after, count = await works.add_missing(
                    connection, rt.works.kinds, after=after, limit=_CLIPS_AT_ONCE
                )
        except Unavailable:
            await asyncio.sleep(rt.settings.timings.work_poll)
            continue
        made += count
        if count:
            rt.works.made()
        # Requests come first.
        await asyncio.sleep(0.01)
    if made:
        _log.info("works were added for clips that lacked them", works=made)
