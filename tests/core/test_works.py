"""Works: each is done once in effect, by whichever process is free, whatever becomes of clips and processes.

Each runtime stands for a process; the kind that they learn is made up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace as replace_field
from uuid import UUID

import pytest
import sqlalchemy as sa

from mosic.core.catalog import remove_clip
from mosic.core.ingest import Hints
from mosic.core.replace import replace_audio
from mosic.core.runtime import Runtime
from mosic.core.trash import restore_clip
from mosic.core.works.asking import repeat, repeat_all, works_of
from mosic.core.works.kinds import Learns, WorkFailed
from mosic.core.works.running import working
from mosic.db.clips import Clip
from mosic.errors import ClipNotFound, Unavailable
from mosic.settings.timings import Timings
from mosic.staging import Incoming
from tests.support.learning import QUICK, Gate, Words, learnt, make_table, only_work, state_of
from tests.support.sounds import wav
from tests.support.stores import Open, upload
from tests.support.waiting import until

Process = Callable[..., AbstractAsyncContextManager[Runtime]]


@pytest.fixture
def process(open_rt: Open) -> Process:
    """A process that does works of these groups."""

    made = False

    @asynccontextmanager
    async def process(
        *groups: Learns, at_once: int = 1, trash_days: float = 0, timings: Timings = QUICK
    ) -> AsyncIterator[Runtime]:
        async with open_rt(timings=timings, learns=groups, trash_days=trash_days) as rt:
            nonlocal made
            if not made:
                await make_table(rt)
                made = True
            async with working(rt, groups, at_once=at_once, fills=True):
                yield rt

    return process


async def ended(rt: Runtime, clip: Clip, state: str = "done") -> None:
    async def is_so() -> bool:
        return await state_of(rt, clip) == state

    await until(is_so)


async def replace(rt: Runtime, clip: Clip, content: bytes) -> Clip:
    async with rt.staging.create(Incoming(limit=10**9)) as writer:
        await writer.write(content)
        return await replace_audio(rt, clip.id, await writer.finish(), Hints(), None)


async def set_back(rt: Runtime, column: str, seconds: float) -> None:
    async with rt.begin() as connection:
        value = f"{column} = now() + make_interval(secs => :seconds)"
        statement = f"UPDATE works SET {value} WHERE {column} IS NOT NULL"  # noqa: S608
        await connection.execute(sa.text(statement), {"seconds": seconds})


async def test_an_upload_is_learnt(process: Process) -> None:
    async with process(Words()) as rt:
        clip = await upload(rt, wav())
        await ended(rt, clip)
        assert clip.sha256
        assert await learnt(rt) == {clip.id: (clip.sha256.hex(), 1)}
        work = await only_work(rt, clip)
        assert (work.kind, work.attempts, work.code) == ("word", 1, None)


async def test_nothing_waits_where_nothing_is_known(process: Process) -> None:
    async with process() as rt:
        assert await works_of(rt, (await upload(rt, wav())).id) == []
        with pytest.raises(ClipNotFound):
            await works_of(rt, UUID(int=7))


async def test_kinds_of_a_group_are_learnt_in_one_pass(process: Process) -> None:
    words = Words(kinds=("word", "other"))
    async with process(words) as rt:
        clip = await upload(rt, wav())

        async def both() -> bool:
            return [(w.kind, w.state) for w in await works_of(rt, clip.id)] == [
                ("other", "done"),
                ("word", "done"),
            ]

        await until(both)
        assert words.seen == [clip.id]


async def test_one_process_hears_of_the_uploads_of_another(open_rt: Open, process: Process) -> None:
    words = Words()
    # Neither looks by itself.
    timings = replace_field(QUICK, work_poll=3600)
    async with (
        process(words, timings=timings) as busy,
        process(words, timings=timings, at_once=0) as only_serves,
    ):
        for seed in range(3):
            await ended(busy, await upload(only_serves, wav(seed=seed)))


async def test_two_processes_never_work_on_one_clip(process: Process) -> None:
    """Two groups of kinds: each process could take one."""
    now: list[UUID] = []
    worst = 0

    async def count(clip: Clip) -> None:
        nonlocal worst
        now.append(clip.id)
        worst = max(worst, now.count(clip.id))
        await asyncio.sleep(0.02)
        now.remove(clip.id)

    first, second = Words(count, ("word",)), Words(count, ("other",))
    async with process(first, second, at_once=2) as rt, process(first, second, at_once=2):
        clips = [await upload(rt, wav(seed=seed)) for seed in range(8)]

        async def all_done() -> bool:
            found = [work for clip in clips for work in await works_of(rt, clip.id)]
            return len(found) == 16 and all(work.state == "done" for work in found)

        await until(all_done)
        assert worst == 1
        assert sorted(first.seen) == sorted(second.seen) == sorted(clip.id for clip in clips)


async def test_fresh_before_what_is_learnt_again(process: Process) -> None:
    gate = Gate()
    words = Words(gate)
    async with process(words) as rt:
        gate.open()
        old = [await upload(rt, wav(seed=seed)) for seed in range(5)]
        for clip in old:
            await ended(rt, clip)
    shut = Gate()
    async with process(Words(shut)) as rt:
        assert [made async for made in repeat_all(rt, "word")][-1] == 5
        await until(lambda: len(shut.come) == 1)
        fresh = await upload(rt, wav(seed=99))
        shut.open()
        for clip in (*old, fresh):
            await ended(rt, clip)
        assert shut.come[1] == fresh.id
        assert {writes for _, writes in (await learnt(rt)).values()} == {1, 2}


async def test_what_is_learnt_again_gets_a_turn(process: Process) -> None:
    gate = Gate()
    async with process(Words()) as rt:
        again = await upload(rt, wav(seed=1))
        await ended(rt, again)
    async with process(Words(gate)) as rt:
        fresh = [await upload(rt, wav(seed=10 + seed)) for seed in range(60)]
        assert [made async for made in repeat_all(rt, "word")][-1] == 1
        gate.open()
        for clip in fresh:
            await ended(rt, clip)
        await ended(rt, again)
        assert again.id in gate.come[:-20]


async def test_a_failure_is_final_when_it_says_so(process: Process) -> None:
    async def refuse(_: Clip) -> None:
        raise WorkFailed("no-word", "There is no word in it.")

    words = Words(refuse)
    async with process(words) as rt:
        clip = await upload(rt, wav())
        await ended(rt, clip, "failed")
        work = await only_work(rt, clip)
        assert (work.code, work.detail, work.attempts) == ("no-word", "There is no word in it.", 1)
        assert await learnt(rt) == {}


async def test_other_failures_are_tried_again_up_to_a_bound(process: Process) -> None:
    async def fail(_: Clip) -> None:
        raise ValueError("\x00 secret")

    words = Words(fail)
    async with process(words) as rt:
        clip = await upload(rt, wav())
        await ended(rt, clip, "failed")
        work = await only_work(rt, clip)
        assert (work.code, work.attempts, len(words.seen)) == ("internal-error", 5, 5)
        assert "secret" not in (work.detail or "")


async def test_what_fails_at_first_is_learnt_later(process: Process) -> None:
    attempts: list[Clip] = []

    async def fail_twice(clip: Clip) -> None:
        attempts.append(clip)
        if len(attempts) <= 2:
            raise ConnectionResetError

    async with process(Words(fail_twice)) as rt:
        clip = await upload(rt, wav())
        await ended(rt, clip)
        work = await only_work(rt, clip)
        assert (work.attempts, work.code) == (3, None)


async def test_what_is_away_for_all_does_not_count(process: Process) -> None:
    attempts: list[Clip] = []

    async def away_at_first(clip: Clip) -> None:
        attempts.append(clip)
        if len(attempts) <= 8:
            raise Unavailable

    async with process(Words(away_at_first)) as rt:
        clip = await upload(rt, wav())
        await ended(rt, clip)
        assert (await only_work(rt, clip)).attempts == 1


async def test_replaced_while_it_is_learnt(process: Process) -> None:
    gate = Gate()
    words = Words(gate)
    async with process(words) as rt:
        clip = await upload(rt, wav(seed=1))
        await until(lambda: len(gate.come) == 1)
        replaced = await replace(rt, clip, wav(seed=2))
        gate.open()
        await ended(rt, clip)
        assert clip.sha256
        assert replaced.sha256
        assert await learnt(rt) == {clip.id: (replaced.sha256.hex(), 1)}
        assert words.dropped == [clip.sha256.hex()]


async def test_replaced_once_it_was_learnt(process: Process) -> None:
    async with process(Words()) as rt:
        clip = await upload(rt, wav(seed=1))
        await ended(rt, clip)
        replaced = await replace(rt, clip, wav(seed=2))
        await until(lambda: _is_learnt(rt, replaced))


async def _is_learnt(rt: Runtime, clip: Clip) -> bool:
    assert clip.sha256
    return (await learnt(rt))[clip.id] == (clip.sha256.hex(), 2)


async def test_bytes_that_somebody_exchanged_around_mosic(process: Process) -> None:
    """Nobody has made the work wait again: what was learnt is dropped all the same."""
    gate = Gate()
    words = Words(gate)
    async with process(words) as rt:
        clip = await upload(rt, wav(seed=1))
        await until(lambda: len(gate.come) == 1)
        async with rt.begin() as connection:
            await connection.execute(sa.text("UPDATE blobs SET sha256 = sha256('x')"))
        gate.open()
        await until(lambda: len(gate.come) == 2)
        await ended(rt, clip)
        assert clip.sha256
        assert words.dropped == [clip.sha256.hex()]
        assert [writes for _, writes in (await learnt(rt)).values()] == [1]


async def test_removed_while_it_is_learnt(process: Process) -> None:
    gate = Gate()
    words = Words(gate)
    async with process(words) as rt:
        clip = await upload(rt, wav(seed=1))
        await until(lambda: len(gate.come) == 1)
        await remove_clip(rt, clip.id)
        gate.open()
        other = await upload(rt, wav(seed=2))
        await ended(rt, other)
        assert set(await learnt(rt)) == {other.id}
        assert clip.sha256
        assert words.dropped == [clip.sha256.hex()]


async def test_the_trash_pauses_works(process: Process) -> None:
    gate = Gate()
    async with process(Words(gate), trash_days=1) as rt:
        first = await upload(rt, wav(seed=1))
        await until(lambda: len(gate.come) == 1)
        clip = await upload(rt, wav(seed=2))
        await remove_clip(rt, clip.id)
        gate.open()
        last = await upload(rt, wav(seed=3))
        for other in (first, last):
            await ended(rt, other)
        assert clip.id not in gate.come
        await restore_clip(rt, clip.id)
        await ended(rt, clip)


async def test_taken_over_from_a_process_that_stands_still(process: Process) -> None:
    """Its lease has run out; when it wakes up its result is dropped, and the other's stands."""
    stuck, free = Gate(), Gate()
    free.open()
    slow = Words(stuck)
    async with process(slow) as first:
        clip = await upload(first, wav())
        await until(lambda: stuck.come)
        async with process(Words(free)) as second:
            await set_back(second, "leased_until", -1)
            await until(lambda: free.come)
            await ended(second, clip)
            stuck.open()
            await until(lambda: slow.dropped)
            assert (await only_work(second, clip)).attempts == 2
            assert {writes for _, writes in (await learnt(second)).values()} == {1}


async def test_a_lease_is_renewed_while_the_work_runs(process: Process) -> None:
    gate = Gate()
    async with process(Words(gate), timings=replace_field(QUICK, work_lease=3.0)) as rt:
        clip = await upload(rt, wav())
        await until(lambda: gate.come)
        ends: set[object] = set()

        async def put_off_twice() -> bool:
            async with rt.begin() as connection:
                ends.add(await connection.scalar(sa.text("SELECT leased_until FROM works")))
            return len(ends) >= 3

        await until(put_off_twice)
        gate.open()
        await ended(rt, clip)


async def test_the_clock_of_the_database_was_set_back(process: Process, open_rt: Open) -> None:
    async with open_rt(learns=[Words()]) as rt:
        clip = await upload(rt, wav())
        await set_back(rt, "due_at", 86400)
    async with process(Words()) as rt:
        await ended(rt, clip)


async def test_a_work_that_ends_its_process_is_not_tried_for_ever(process: Process) -> None:
    gate = Gate()
    async with process(Words(gate)) as rt:
        clip = await upload(rt, wav())

        async def ends_again() -> bool:
            await set_back(rt, "leased_until", -1) if await state_of(rt, clip) == "running" else None
            return await state_of(rt, clip) == "failed"

        await until(ends_again)
        work = await only_work(rt, clip)
        assert (work.code, work.attempts) == ("process-ended", 5)


async def test_a_process_that_stops_gives_back_what_it_has_not_finished(process: Process) -> None:
    gate = Gate()
    async with process(Words(gate)) as rt:
        clip = await upload(rt, wav())
        await until(lambda: gate.come)
    async with process(Words(), at_once=0) as rt:
        work = await only_work(rt, clip)
        assert (work.state, work.attempts) == ("waiting", 0)


async def test_clips_that_lack_works_get_them(process: Process) -> None:
    async with process() as rt:
        old = [await upload(rt, wav(seed=seed)) for seed in range(3)]
    async with process(Words()) as rt:
        await until(lambda: _all_learnt(rt, old))


async def _all_learnt(rt: Runtime, clips: Sequence[Clip]) -> bool:
    return set(await learnt(rt)) == {clip.id for clip in clips}


async def test_learnt_again_of_one_clip(process: Process) -> None:
    async with process(Words()) as rt:
        clip = await upload(rt, wav())
        await ended(rt, clip)
        assert await repeat(rt, clip.id, ["word"]) == 1
        await until(lambda: _is_learnt(rt, clip))
        with pytest.raises(ClipNotFound):
            await repeat(rt, UUID(int=7), ["word"])
