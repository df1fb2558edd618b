"""Sweeps that meet each other, uploads and failures: no clip ever loses its bytes."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Sequence
from contextlib import suppress
from fcntl import flock
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from asyncpg import Connection

from mosic import disk
from mosic.core.catalog import list_clips, remove_clip
from mosic.core.runtime import Runtime
from mosic.core.sweep import Swept, sweep
from mosic.db import adding
from mosic.db import blobs as blob_rows
from mosic.db.blobs import BlobSwept
from mosic.db.clips import Clip, NewClip
from mosic.errors import Unavailable
from tests.support.sounds import wav
from tests.support.stores import (
    HOUR,
    FailingOnce,
    Open,
    insert_clips,
    key_of,
    keys_in,
    known_keys,
    paused,
    put,
    swept_keys,
    upload,
)

NOTHING = Swept()


# Sweeps that meet


async def test_one_sweeps_at_a_time(rt: Runtime, open_rt: Open) -> None:
    await put(rt, key_of(HOUR))
    slow, blobs = paused(rt, "delete")
    async with open_rt() as other:
        first = asyncio.create_task(sweep(slow, grace_seconds=0))
        await blobs.reached.wait()
        assert await sweep(rt, grace_seconds=0) is None
        assert await sweep(other, grace_seconds=0) is None
        blobs.go_on.set()
        assert await first == Swept(blobs=1)
        assert await sweep(other, grace_seconds=0) == NOTHING


@pytest.mark.parametrize("how", ["cancelled", "connection lost"])
async def test_a_sweep_that_ended_badly_is_in_nobodys_way(rt: Runtime, how: str) -> None:
    orphan = await put(rt, key_of(HOUR))
    slow, blobs = paused(rt, "delete")
    first = asyncio.create_task(sweep(slow, grace_seconds=0))
    await blobs.reached.wait()
    assert await swept_keys(rt) == {orphan}
    if how == "cancelled":
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    else:
        async with rt.begin() as connection:
            await connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'mosic' AND datname = current_database()"
                    " AND pid <> pg_backend_pid() AND state = 'idle'"
                )
            )
    await until_lock_is_free(rt)
    assert await sweep(rt, grace_seconds=0) == Swept(blobs=1)
    assert await rt.blobs.stat(orphan) is None
    if not first.done():
        blobs.go_on.set()
        assert await first == NOTHING  # it was too late


async def until_lock_is_free(rt: Runtime) -> None:
    async with asyncio.timeout(60):
        while True:
            async with blob_rows.only_sweeper(rt.engine) as alone:
                if alone:
                    return
            await asyncio.sleep(0.01)


async def test_a_blob_that_cannot_be_removed_is_left_to_the_next_sweep(rt: Runtime) -> None:
    orphans = {await put(rt, key_of(HOUR)) for _ in range(3)}
    blobs: Any = FailingOnce(rt.blobs, "delete")
    assert await sweep(dataclasses.replace(rt, blobs=blobs), grace_seconds=0) == Swept(blobs=2)
    (left,) = await keys_in(rt.blobs)
    assert left in orphans
    assert await sweep(rt, grace_seconds=0) == Swept(blobs=1)


async def test_the_service_has_its_whole_pool_while_a_sweep_runs(open_rt: Open) -> None:
    async with open_rt(db_pool_size=1) as rt:
        await put(rt, key_of(HOUR))
        slow, blobs = paused(rt, "delete")
        sweeping_now = asyncio.create_task(sweep(slow, grace_seconds=0))
        await blobs.reached.wait()
        async with asyncio.timeout(60):
            assert (await list_clips(rt, limit=1)).total == 0
        blobs.go_on.set()
        await sweeping_now


# A sweep that meets an upload


async def test_an_upload_that_was_stopped_before_its_row_gets_none_once_swept(rt: Runtime) -> None:
    stopped, blobs = paused(rt, "put", after=True)
    uploading = asyncio.create_task(upload(stopped, wav()))
    await blobs.reached.wait()
    assert await sweep(rt, grace_seconds=0) == Swept(blobs=1)
    blobs.go_on.set()
    with pytest.raises(Unavailable):
        await uploading
    assert await known_keys(rt) == set() == await keys_in(rt.blobs)
    await upload(rt, wav())  # to repeat it helps
    assert await known_keys(rt) == await keys_in(rt.blobs) != set()


async def test_a_sweep_that_was_stopped_before_it_removes_leaves_no_row_without_bytes(rt: Runtime) -> None:
    """It has made up its mind, and its connections may be long gone: nobody may claim the blob any more."""
    publishing, published = paused(rt, "put", after=True)
    uploading = asyncio.create_task(upload(publishing, wav()))
    await published.reached.wait()
    slow, removing = paused(rt, "delete")
    sweeping_now = asyncio.create_task(sweep(slow, grace_seconds=0))
    await removing.reached.wait()
    published.go_on.set()
    with pytest.raises(Unavailable):
        await uploading
    removing.go_on.set()
    await sweeping_now
    assert await known_keys(rt) == set() == await keys_in(rt.blobs)


async def test_a_row_that_is_being_committed_keeps_its_bytes(rt: Runtime) -> None:
    blob_key = await put(rt, key_of(HOUR))
    async with rt.begin() as connection:
        await insert_clips(connection, blob_key)
        assert await sweep(rt, grace_seconds=0) == NOTHING
    assert await sweep(rt, grace_seconds=0) == NOTHING
    assert await keys_in(rt.blobs) == {blob_key} == await known_keys(rt)


async def test_each_statement_sees_what_is_committed_whatever_the_database_prefers(
    rt: Runtime, open_rt: Open
) -> None:
    """An insert that waited for a sweep to mark its key must see the mark."""
    async with rt.begin() as connection:
        name = await connection.scalar(sa.text("SELECT current_database()"))
        await connection.execute(
            sa.text(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
        )
    blob_key = await put(rt, key_of(HOUR))
    async with open_rt() as other:
        async with rt.begin() as connection:
            assert await blob_rows.mark_swept(connection, [blob_key]) == [blob_key]
            inserting = asyncio.create_task(insert(other, blob_key))
            await asyncio.sleep(0.2)
            assert not inserting.done()
        with pytest.raises(BlobSwept):
            await inserting
    assert await known_keys(rt) == set()


async def insert(rt: Runtime, blob_key: str) -> Clip | None:
    new = NewClip(
        id=UUID(blob_key), title="t", blob_key=blob_key, size=6, sha256=b"x" * 32, media_type="audio/mpeg"
    )
    async with rt.statements() as driver:
        return await adding.insert(driver, new)


async def test_uploads_deletes_and_sweeps_without_grace_at_once(rt: Runtime, open_rt: Open) -> None:
    rng = random.Random(7)
    made: list[Clip] = []

    async def uploader(first: int) -> None:
        for seed in range(first, first + 15):
            with suppress(Unavailable):  # swept between its blob and its row
                made.append(await upload(rt, wav(0.02, seed=seed)))

    async def deleter() -> None:
        while not done.is_set():
            await asyncio.sleep(0.02)
            if made:
                await remove_clip(rt, made.pop(rng.randrange(len(made))).id)

    async def sweeper(its: Runtime) -> None:
        while not done.is_set():
            await sweep(its, grace_seconds=0)

    done = asyncio.Event()
    async with open_rt() as other, asyncio.TaskGroup() as group:
        others = [group.create_task(job) for job in (deleter(), sweeper(rt), sweeper(other))]
        await asyncio.gather(*(uploader(first) for first in (0, 100, 200, 300)))
        done.set()
        await asyncio.gather(*others)
    assert made
    await sweep(rt, grace_seconds=0)
    assert await keys_in(rt.blobs) == await known_keys(rt)
    await sweep(rt, grace_seconds=0, empty_trash=True)
    assert await keys_in(rt.blobs) == await known_keys(rt) == {clip.blob_key for clip in made}


# Commits whose fate is unknown


@pytest.mark.parametrize("error", [Unavailable(), RuntimeError("not foreseen")])
@pytest.mark.parametrize("commits", [True, False])
async def test_an_upload_whose_commit_was_not_answered(
    rt: Runtime, error: Exception, commits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is committed or not, and the insert ends in the error in any case."""
    insert = adding.insert

    async def losing(driver: Connection, new: NewClip, kinds: Sequence[str], _: object) -> None:
        if commits:
            await insert(driver, new, kinds)
        raise error

    monkeypatch.setattr(adding, "insert", losing)
    with pytest.raises(type(error)):
        await upload(rt, wav())
    assert len(await known_keys(rt)) == commits
    assert await keys_in(rt.blobs) == await known_keys(rt)


# A sweep that meets a staged file in the instant before it is locked


async def test_a_staged_file_that_a_sweep_takes_is_made_again(
    rt: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    taken = -1

    def late(descriptor: int, operation: int) -> None:
        nonlocal taken
        if taken < 0:
            taken = 0  # the sweep locks as well
            taken = asyncio.run_coroutine_threadsafe(rt.staging.sweep(0), loop).result(10)
        flock(descriptor, operation)

    monkeypatch.setattr(disk, "flock", late)
    clip = await upload(rt, wav())
    assert taken == 1
    assert await keys_in(rt.blobs) == {clip.blob_key}
