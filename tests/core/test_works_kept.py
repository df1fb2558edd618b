"""Works outlive what befalls the database: it is away, restored from a backup, or of an old version."""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import URL

from mosic.boot import open_runtime
from mosic.core.runtime import Runtime
from mosic.core.watch import look_at_catalogue
from mosic.core.works.running import working
from mosic.db.clips import Clip
from mosic.db.engine import create_engine
from mosic.db.migrate import is_current, migrate, move_to
from mosic.metrics import Metrics
from mosic.settings import Settings
from tests.core.test_backup import backup, empty, restore  # noqa: F401 – `empty` is a fixture
from tests.support.databases import way_to
from tests.support.learning import QUICK, Gate, Words, learnt, make_table, state_of
from tests.support.scraped import Scraped, read
from tests.support.sounds import wav
from tests.support.stores import Open, upload
from tests.support.waiting import until


def shown(rt: Runtime) -> Scraped:
    return read(rt.metrics.exposition("")[0].decode())


async def until_done(rt: Runtime, *clips: Clip) -> None:
    async def is_so() -> bool:
        return all([await state_of(rt, clip) == "done" for clip in clips])

    await until(is_so)


async def test_the_database_is_away_while_something_is_learnt(
    open_rt: Open, short_tmp: Path, own_database_url: URL
) -> None:
    gate = Gate()
    words = Words(gate)
    async with (
        way_to(own_database_url, short_tmp / f"way-{os.urandom(4).hex()}") as way,
        open_rt(timings=QUICK, learns=[words], database_url_override=way.url) as rt,
        working(rt, [words], at_once=1, fills=True),
    ):
        await make_table(rt)
        clip = await upload(rt, wav(seed=1))
        await until(lambda: gate.come)
        other = await upload(rt, wav(seed=2))
        await way.block()
        gate.open()
        await until(lambda: shown(rt).total("mosic_database_faults_total"))
        await way.unblock()
        await until_done(rt, clip, other)
        assert {writes for _, writes in (await learnt(rt)).values()} == {1}
        assert gate.come == [clip.id, other.id]


async def test_a_backup_has_what_is_done_and_the_rest_is_learnt_after_a_restore(
    open_rt: Open,
    tmp_path: Path,
    empty: Settings,  # noqa: F811
) -> None:
    gate, words = Gate(), Words()
    async with open_rt(timings=QUICK, learns=[words]) as rt:
        await make_table(rt)
        async with working(rt, [words], at_once=1, fills=True):
            done = await upload(rt, wav(seed=1))
            await until_done(rt, done)
        stuck = Words(gate)
        async with working(rt, [stuck], at_once=1, fills=True):
            running = await upload(rt, wav(seed=2))
            await until(lambda: gate.come)
            waiting = await upload(rt, wav(seed=3))
            await backup(rt, tmp_path / "backup")
    await restore(empty, tmp_path / "backup")
    again = Words()
    async with open_runtime(empty, Metrics(), learns=[again]) as rt:
        await make_table(rt)
        states = [await state_of(rt, clip) for clip in (done, running, waiting)]
        assert states == ["done", "waiting", "waiting"]
        async with working(rt, [again], at_once=1, fills=True):
            await until_done(rt, running, waiting)
        assert sorted(again.seen) == sorted([running.id, waiting.id])


async def test_the_metrics_show_works(open_rt: Open) -> None:
    words = Words()
    async with open_rt(timings=QUICK, learns=[words]) as rt:
        await make_table(rt)
        async with working(rt, [words], at_once=1, fills=True):
            await until_done(rt, await upload(rt, wav(seed=1)))
        await upload(rt, wav(seed=2))
        await look_at_catalogue(rt)
        found = shown(rt)
    assert found.value("mosic_works", kind="word", state="done") == 1
    assert found.value("mosic_works", kind="word", state="waiting") == 1
    assert found.value("mosic_works_oldest_waiting_seconds", kind="word") >= 0
    assert found.value("mosic_work_attempts_total", kind="word", outcome="done") == 1
    assert found.value("mosic_work_seconds_count", kind="word") == 1


async def test_clips_from_before_there_were_works(own_database_url: URL) -> None:
    """The table comes and goes without a look at the clips."""
    engine = create_engine(own_database_url, pool_size=1)
    before = "0013"
    insert = "INSERT INTO clips (id, title, external_url) VALUES (gen_random_uuid(), 't', 'https://a.test/')"
    async with engine.begin() as connection:
        await move_to(connection, before)
        await connection.execute(sa.text(insert))
    await migrate(engine)
    async with engine.begin() as connection:
        await connection.execute(sa.text("INSERT INTO works (clip_id, kind) SELECT id, 'word' FROM clips"))
    async with engine.begin() as connection:
        await move_to(connection, before)
        assert await connection.scalar(sa.text("SELECT count(*) FROM clips")) == 1
    await migrate(engine)
    assert await is_current(engine)
    async with engine.begin() as connection:
        assert await connection.scalar(sa.text("SELECT count(*) FROM works")) == 0
    await engine.dispose()
