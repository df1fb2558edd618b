"""Plays are counted before they are answered, together, and through every trouble of the database."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from uuid import UUID

import pytest

from mosic.background import Background
from mosic.core.plays import PlayCounter
from mosic.db.plays import Tally
from mosic.errors import Unavailable
from mosic.metrics import Metrics
from tests.support.waiting import until

ONE, TWO = uuid.uuid4(), uuid.uuid4()
WAIT = 0.2


class Table:
    """The counters, in a database that may be slow or away."""

    def __init__(self) -> None:
        self.plays: Counter[UUID] = Counter()
        self.bytes: Counter[UUID] = Counter()
        self.commits = 0
        self.away = False
        self.writing, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    async def write(self, tallies: Mapping[UUID, Tally]) -> None:
        self.writing.set()
        await self.go_on.wait()
        if self.away:
            raise Unavailable
        self.commits += 1
        for clip_id, tally in tallies.items():
            self.plays[clip_id] += tally.plays
            self.bytes[clip_id] += tally.bytes


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


Make = Callable[..., PlayCounter]


@pytest.fixture
async def make(table: Table, metrics: Metrics) -> AsyncIterator[Make]:
    made: list[PlayCounter] = []

    def make(*, wait_seconds: float = WAIT, most_waiting: int = 1000) -> PlayCounter:
        counter = PlayCounter(
            table.write,
            metrics.plays,
            wait_seconds=wait_seconds,
            most_waiting=most_waiting,
            background=Background(),
        )
        counter.start()
        made.append(counter)
        return counter

    yield make
    for counter in made:
        await counter.close()


def shown(metrics: Metrics, name: str) -> float:
    text, _ = metrics.exposition("text/plain")
    (line,) = [line for line in text.decode().splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])


async def test_a_play_is_written_when_count_returns(make: Make, table: Table, metrics: Metrics) -> None:
    counter = make()
    await counter.count(ONE)
    assert table.plays == {ONE: 1}
    await counter.count(TWO)
    await counter.count(ONE)
    assert table.plays == {ONE: 2, TWO: 1}
    assert shown(metrics, "mosic_plays_total") == 3
    assert shown(metrics, "mosic_plays_waiting") == 0


async def test_plays_that_arrive_during_a_commit_go_together(make: Make, table: Table) -> None:
    counter = make(wait_seconds=30)
    table.go_on.clear()
    first = asyncio.create_task(counter.count(ONE))
    await table.writing.wait()
    others = [asyncio.create_task(counter.count(clip_id)) for clip_id in (ONE, TWO) for _ in range(50)]
    await asyncio.sleep(0.05)
    assert not first.done()
    table.go_on.set()
    await asyncio.gather(first, *others)
    assert table.plays == {ONE: 51, TWO: 50}
    assert table.commits == 2


async def test_a_listener_who_leaves_is_counted(make: Make, table: Table) -> None:
    """The play may have been answered, as far as anybody can tell."""
    counter = make(wait_seconds=30)
    table.go_on.clear()
    tasks = [asyncio.create_task(counter.count(ONE)) for _ in range(3)]
    await table.writing.wait()
    tasks[1].cancel()
    table.go_on.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert table.plays == {ONE: 3}


async def test_a_slow_database_holds_playing_up_only_for_so_long(
    make: Make, table: Table, metrics: Metrics
) -> None:
    counter, loop = make(), asyncio.get_running_loop()
    table.go_on.clear()
    began = loop.time()
    await asyncio.gather(*(counter.count(ONE) for _ in range(10)))
    assert loop.time() - began >= WAIT * 0.9
    # From here on nobody waits.
    async with asyncio.timeout(WAIT / 2):
        for _ in range(5):
            await counter.count(TWO)
    assert table.plays == {}
    assert shown(metrics, "mosic_plays_waiting") == 15
    table.go_on.set()
    await until(lambda: table.plays == {ONE: 10, TWO: 5})
    assert shown(metrics, "mosic_plays_waiting") == 0
    # And now a play waits for its commit again.
    await counter.count(ONE)
    assert table.plays[ONE] == 11


async def test_without_a_database_plays_wait_and_are_written_when_it_is_back(
    make: Make, table: Table, metrics: Metrics
) -> None:
    counter = make()
    table.away = True
    for clip_id in (ONE, ONE, TWO):
        await counter.count(clip_id)
    counter.add_bytes(ONE, 100)
    assert shown(metrics, "mosic_plays_waiting") == 3
    table.away = False
    await until(lambda: table.plays == {ONE: 2, TWO: 1})
    await until(lambda: shown(metrics, "mosic_plays_waiting") == 0)
    assert shown(metrics, "mosic_plays_total") == 3


async def test_a_short_break_delays_and_changes_nothing(make: Make, table: Table) -> None:
    counter = make(wait_seconds=30)
    table.away = True
    counting = [asyncio.create_task(counter.count(ONE)) for _ in range(20)]
    await table.writing.wait()
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in counting)
    table.away = False
    await asyncio.gather(*counting)
    assert table.plays == {ONE: 20}


async def test_no_more_plays_wait_than_allowed(make: Make, table: Table, metrics: Metrics) -> None:
    counter = make(wait_seconds=0.05, most_waiting=10)
    table.away = True
    for _ in range(10):
        await counter.count(ONE)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await counter.count(ONE)
    assert shown(metrics, "mosic_plays_waiting") == 10
    table.away = False
    # Those that were refused are not counted.
    await until(lambda: table.plays == {ONE: 10})
    await until(lambda: shown(metrics, "mosic_plays_waiting") == 0)
    await counter.count(ONE)
    assert table.plays == {ONE: 11}


async def test_bytes_go_with_the_next_play_of_their_clip(make: Make, table: Table) -> None:
    counter = make()
    await counter.count(ONE)
    counter.add_bytes(ONE, 100)
    counter.add_bytes(ONE, 23)
    await counter.count(ONE)
    assert table.bytes[ONE] == 123


async def test_close_writes_what_waits(make: Make, table: Table) -> None:
    counter = make()
    table.away = True
    await counter.count(ONE)
    counter.add_bytes(TWO, 7)
    table.away = False
    await counter.close()
    assert (table.plays[ONE], table.bytes[TWO]) == (1, 7)


async def test_close_without_a_database_ends_and_refuses_those_who_wait(make: Make, table: Table) -> None:
    """They have not been answered, and must not be: their play is not written."""
    counter = make(wait_seconds=30)
    table.away = True
    waiting = [asyncio.create_task(counter.count(ONE)) for _ in range(3)]
    await table.writing.wait()
    async with asyncio.timeout(60):
        await counter.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 3
    with pytest.raises(Unavailable):
        await counter.count(ONE)


async def test_close_does_not_wait_for_ever_for_a_database_that_hangs(
    make: Make, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mosic.core.plays._CLOSE_SECONDS", 0.2)
    monkeypatch.setattr("mosic.core.plays._LAST_SECONDS", 0.2)
    counter = make(wait_seconds=60)
    table.go_on.clear()
    waiting = asyncio.create_task(counter.count(ONE))
    await table.writing.wait()
    async with asyncio.timeout(60):
        await counter.close()
    with pytest.raises(Unavailable):
        await waiting
    table.go_on.set()
