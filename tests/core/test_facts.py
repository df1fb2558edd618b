"""What is remembered of clips, by itself: kept while every change is told, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.core.catalog import add_external, edit_clip
from mosic.core.facts import BlobFacts, Facts, FactsCache
from mosic.core.runtime import Runtime
from mosic.db.clips import Clip
from mosic.errors import ClipNotFound, Unavailable
from tests.support.sounds import wav
from tests.support.stores import Open, upload

WAIT = 0.3


class Database:
    """The way to a real one, which may be away, silent, or hold back what it has read."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self.asked = 0
        self.away = self.silent = False
        self.has_read, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        self.asked += 1
        if self.away:
            raise Unavailable
        if self.silent:
            await asyncio.sleep(2 * WAIT)
            raise Unavailable
        async with self._rt.begin() as connection:
            yield connection
        self.has_read.set()
        await self.go_on.wait()


@pytest.fixture
def database(rt: Runtime) -> Database:
    return Database(rt)


def cache(rt: Runtime, database: Database, **options: Any) -> FactsCache:
    made = FactsCache(database.begin, wait_seconds=WAIT, **options)
    made.trust()
    return made


def name_in(facts: Facts | None) -> str:
    assert isinstance(facts, BlobFacts)
    return dict(facts.whole)[b"content-disposition"].decode()


async def rename(rt: Runtime, clip: Clip, title: str) -> None:
    await edit_clip(rt, clip.id, {"title": title})


async def test_a_clip_is_looked_up_once(rt: Runtime, database: Database) -> None:
    facts, clip = cache(rt, database), await upload(rt, wav())
    assert facts.known(str(clip.id)) is None
    first = await facts.get(clip.id)
    assert facts.known(str(clip.id)) == first == await facts.get(clip.id)
    assert database.asked == 1


async def test_those_who_ask_together_share_a_look_up(rt: Runtime, database: Database) -> None:
    facts, clip = cache(rt, database), await upload(rt, wav())
    found = await asyncio.gather(*(facts.get(clip.id) for _ in range(200)))
    assert all(one is found[0] for one in found)
    assert database.asked == 1


async def test_who_leaves_takes_no_look_up_along(rt: Runtime, database: Database) -> None:
    """A query that is cancelled tears its connection out of the pool."""
    facts, clip = cache(rt, database), await upload(rt, wav())
    database.go_on.clear()
    asking = [asyncio.create_task(facts.get(clip.id)) for _ in range(3)]
    await database.has_read.wait()
    for task in asking[:2]:
        task.cancel()
    await asyncio.gather(*asking[:2], return_exceptions=True)
    database.go_on.set()
    assert isinstance(await asking[2], BlobFacts)
    assert database.asked == 1


async def test_a_change_is_looked_up_again(rt: Runtime, database: Database) -> None:
    facts, clip = cache(rt, database), await upload(rt, wav())
    await facts.get(clip.id)
    await rename(rt, clip, "another")
    facts.drop(clip.id)
    assert facts.known(str(clip.id)) is None
    assert "another" in name_in(await facts.get(clip.id))


async def test_a_look_up_that_a_change_overtakes_is_not_kept(rt: Runtime, database: Database) -> None:
    facts, clip = cache(rt, database), await upload(rt, wav())
    database.go_on.clear()
    asking = asyncio.create_task(facts.get(clip.id))
    await database.has_read.wait()
    await rename(rt, clip, "another")
    facts.drop(clip.id)
    database.go_on.set()
    # Who asks after the change is told of it, though the earlier look-up is still under way.
    assert "another" in name_in(await facts.get(clip.id))
    assert "another" not in name_in(await asking)
    assert "another" in name_in(facts.known(str(clip.id)))


async def test_a_look_up_begun_before_changes_were_told_is_not_kept(rt: Runtime, database: Database) -> None:
    facts, clip = cache(rt, database), await upload(rt, wav())
    facts.distrust()
    database.go_on.clear()
    asking = asyncio.create_task(facts.get(clip.id))
    await database.has_read.wait()
    await rename(rt, clip, "another")
    facts.trust()
    database.go_on.set()
    await asking
    assert "another" in name_in(await facts.get(clip.id))


async def test_in_doubt_the_database_is_asked_each_time(rt: Runtime, database: Database) -> None:
    facts, clip = cache(rt, database), await upload(rt, wav())
    await facts.get(clip.id)
    facts.distrust()
    for title in ("one", "two"):
        assert facts.known(str(clip.id)) is None
        await rename(rt, clip, title)
        assert title in name_in(await facts.get(clip.id))


async def test_what_is_known_from_before_a_doubt_is_looked_up_again(rt: Runtime, database: Database) -> None:
    facts, clip = cache(rt, database), await upload(rt, wav())
    await facts.get(clip.id)
    facts.distrust()
    await rename(rt, clip, "unheard")
    facts.trust()
    assert facts.known(str(clip.id)) is None
    assert "unheard" in name_in(await facts.get(clip.id))
    assert facts.known(str(clip.id)) is not None


async def test_no_more_than_allowed_are_kept(rt: Runtime, database: Database) -> None:
    facts = cache(rt, database, most=3)
    clips = [await upload(rt, wav(seed=seed)) for seed in range(5)]
    for clip in clips[:4]:
        await facts.get(clip.id)
    await facts.get(clips[1].id)
    await facts.get(clips[4].id)
    # Those that were asked for last.
    assert [facts.known(str(clip.id)) is not None for clip in clips] == [False, True, False, True, True]


async def test_without_a_database_the_known_play_on_and_the_others_are_told(
    rt: Runtime, database: Database
) -> None:
    facts = cache(rt, database)
    known, unknown = [await upload(rt, wav(seed=seed)) for seed in range(2)]
    before = await facts.get(known.id)
    facts.distrust()
    database.away = True
    assert await facts.get(known.id) is before
    with pytest.raises(Unavailable):
        await facts.get(unknown.id)
    database.away = False
    assert isinstance(await facts.get(unknown.id), BlobFacts)
    await rename(rt, known, "back again")
    assert "back again" in name_in(await facts.get(known.id))


async def test_a_database_that_is_silent_delays_only_those_who_try_it(
    rt: Runtime, database: Database
) -> None:
    facts = cache(rt, database)
    clips = [await upload(rt, wav(seed=seed)) for seed in range(10)]
    for clip in clips:
        await facts.get(clip.id)
    facts.distrust()
    database.silent = True
    await asyncio.gather(*(facts.get(clip.id) for clip in clips))
    # Now it is known to be silent: asked by one at a time, who waits for `WAIT`, and that now and then.
    database.asked = 0
    loop, slow = asyncio.get_running_loop(), 0

    async def is_slow(clip: Clip) -> bool:
        began = loop.time()
        await facts.get(clip.id)
        return loop.time() - began > WAIT / 2

    end = loop.time() + 3
    while loop.time() < end:
        slow += sum(await asyncio.gather(*(is_slow(clip) for clip in clips)))
        await asyncio.sleep(0.02)
    assert 1 <= database.asked <= 4
    assert slow <= database.asked


async def test_a_removed_clip_is_not_found_again(rt: Runtime, database: Database) -> None:
    facts, clip = cache(rt, database), await upload(rt, wav())
    await facts.get(clip.id)
    async with rt.begin() as connection:
        await connection.execute(sa.text("DELETE FROM clips"))
    facts.distrust()
    for _ in range(2):
        with pytest.raises(ClipNotFound):
            await facts.get(clip.id)
    # Not even now that nobody could tell.
    database.away = True
    with pytest.raises(Unavailable):
        await facts.get(clip.id)


async def test_an_external_clip_is_asked_for_each_time(open_rt: Open) -> None:
    """Of its removal only the row tells, and what is told by the database comes a moment late."""
    async with open_rt(remote_allow_private=True) as rt:
        database = Database(rt)
        facts = cache(rt, database)
        clip, _ = await add_external(rt, url="http://127.0.0.1:8009/a.mp3", title="a")
        await facts.get(clip.id)
        async with rt.begin() as connection:
            await connection.execute(sa.text("DELETE FROM clips"))
        with pytest.raises(ClipNotFound):
            await facts.get(clip.id)


async def test_an_external_clip_removed_during_a_look_up_is_gone_for_who_asks_then(open_rt: Open) -> None:
    async with open_rt(remote_allow_private=True) as rt:
        database = Database(rt)
        facts = cache(rt, database)
        clip, _ = await add_external(rt, url="http://127.0.0.1:8009/a.mp3", title="a")
        database.go_on.clear()
        before = asyncio.create_task(facts.get(clip.id))
        await database.has_read.wait()
        async with rt.begin() as connection:
            await connection.execute(sa.text("DELETE FROM clips"))
        after = asyncio.create_task(facts.get(clip.id))
        await asyncio.sleep(0)
        database.go_on.set()
        await before
        with pytest.raises(ClipNotFound):
            await after
