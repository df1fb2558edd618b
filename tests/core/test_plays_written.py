"""The counters in a real database: many writers, clips that go, a server that goes and comes back."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from mosic.core.catalog import get_clip, remove_clip
from mosic.core.runtime import Runtime
from mosic.db.engine import create_engine
from mosic.db.plays import PlayWriter, Tally
from mosic.db.state import UNOBSERVED
from tests.support.sounds import wav
from tests.support.stores import Open, upload


@pytest.fixture
async def engine(database_url: URL) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database_url, pool_size=10)
    yield engine
    await engine.dispose()


async def test_writers_that_meet_lose_nothing(rt: Runtime, engine: AsyncEngine) -> None:
    """Each in an order of its own: without one order of locks some would be refused as deadlocked."""
    clips = [await upload(rt, wav(seed=seed)) for seed in range(8)]
    plays: Counter[uuid.UUID] = Counter()
    sizes: Counter[uuid.UUID] = Counter()

    async def write(seed: int) -> None:
        writer, rng = PlayWriter(engine, UNOBSERVED), random.Random(seed)
        for _ in range(60):
            tallies = {
                clip.id: Tally(rng.randint(0, 3), rng.randint(0, 10**10))
                for clip in rng.sample(clips, rng.randint(1, 8))
            }
            await writer.add(tallies)
            for clip_id, tally in tallies.items():
                plays[clip_id] += tally.plays
                sizes[clip_id] += tally.bytes
        await writer.close()

    await asyncio.gather(*(write(seed) for seed in range(6)))
    for clip in clips:
        found = await get_clip(rt, clip.id)
        assert (found.play_count, found.bytes_streamed) == (plays[clip.id], sizes[clip.id])


async def test_a_clip_that_is_gone_is_passed_over(rt: Runtime, engine: AsyncEngine) -> None:
    gone, there = [await upload(rt, wav(seed=seed)) for seed in range(2)]
    await remove_clip(rt, gone.id)
    writer = PlayWriter(engine, UNOBSERVED)
    await writer.add({gone.id: Tally(5, 5), there.id: Tally(1, 2), uuid.uuid4(): Tally(1, 1)})
    await writer.close()
    found = await get_clip(rt, there.id)
    assert (found.play_count, found.bytes_streamed) == (1, 2)


async def test_when_a_clip_was_last_played_is_told_by_plays_alone(rt: Runtime, engine: AsyncEngine) -> None:
    clip = await upload(rt, wav())
    writer = PlayWriter(engine, UNOBSERVED)
    await writer.add({clip.id: Tally(0, 100)})
    assert (await get_clip(rt, clip.id)).last_played_at is None
    await writer.add({clip.id: Tally(1, 0)})
    played = (await get_clip(rt, clip.id)).last_played_at
    assert played is not None
    await writer.add({clip.id: Tally(0, 100)})
    assert (await get_clip(rt, clip.id)).last_played_at == played
    # Another worker's clock, or its place in the queue, never puts it back.
    async with rt.begin() as connection:
        await connection.execute(sa.text("UPDATE clip_plays SET last_played_at = now() + interval '1 hour'"))
    before = (await get_clip(rt, clip.id)).last_played_at
    await writer.add({clip.id: Tally(1, 0)})
    assert (await get_clip(rt, clip.id)).last_played_at == before
    await writer.close()


async def test_plays_go_on_when_the_connection_is_cut_again_and_again(rt: Runtime) -> None:
    """None is lost, and none is twice: a connection that is idle when it is cut leaves nothing uncertain."""
    clip = await upload(rt, wav())
    for _ in range(5):
        await asyncio.gather(*(rt.plays.count(clip.id) for _ in range(10)))
        async with rt.begin() as connection:
            await connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
    await rt.plays.count(clip.id)
    assert (await get_clip(rt, clip.id)).play_count == 51


async def test_plays_of_several_processes_add_up(open_rt: Open, rt: Runtime) -> None:
    clips = [await upload(rt, wav(seed=seed)) for seed in range(3)]
    async with open_rt() as second, open_rt() as third:
        await asyncio.gather(
            *(one.plays.count(clip.id) for one in (rt, second, third) for clip in clips for _ in range(100))
        )
        # Before anything is closed: what was counted is written.
        assert [(await get_clip(rt, clip.id)).play_count for clip in clips] == [300] * 3


async def test_a_locked_row_holds_up_its_own_plays_only_for_so_long(open_rt: Open) -> None:
    async with open_rt(play_wait_seconds=0.3) as rt:
        clip = await upload(rt, wav())
        async with rt.begin() as connection:
            await connection.execute(sa.text("SELECT * FROM clip_plays FOR UPDATE"))
            async with asyncio.timeout(60):
                await rt.plays.count(clip.id)
                await rt.plays.count(clip.id)
        async with asyncio.timeout(60):
            while (await get_clip(rt, clip.id)).play_count < 2:
                await asyncio.sleep(0.01)
        assert (await get_clip(rt, clip.id)).play_count == 2
