"""Rows of `blobs`: made with their first reference, removed with the last, whoever meets whom."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from mosic.core.catalog import get_clip, remove_clip
from mosic.core.ingest import Hints, ingest
from mosic.core.replace import replace_audio
from mosic.core.runtime import Runtime
from mosic.core.sweep import SweepRefused, Swept, sweep
from mosic.db import adding, clips
from mosic.db import blobs as blob_rows
from mosic.db.blobs import BlobSwept
from mosic.db.clips import Clip
from mosic.errors import BytesTaken, Unavailable
from mosic.staging import Incoming
from tests.support.sounds import wav
from tests.support.stores import HOUR, Open, key_of, keys_in, known_keys, put, read_blob, swept_keys, upload


async def rows(rt: Runtime) -> set[str]:
    async with rt.begin() as connection:
        return set((await connection.scalars(sa.text("SELECT key FROM blobs"))).all())


async def lone_blob(rt: Runtime, content: bytes, age: float = HOUR) -> str:
    """Stored, with a row, and nothing refers to it: as if a clip had been removed by hand."""
    clip = await upload(rt, content)
    blob_key = key_of(age)
    assert clip.blob_key
    await rt.blobs.delete(clip.blob_key)
    await put(rt, blob_key, content)
    async with rt.begin() as connection:
        await blob_rows.change_key(connection, clip.blob_key, blob_key)
        await connection.execute(sa.text("DELETE FROM clips WHERE id = :id"), {"id": clip.id})
    return blob_key


async def replaced(rt: Runtime, clip: Clip, content: bytes) -> Clip:
    async with rt.staging.create(Incoming(limit=10**9)) as writer:
        await writer.write(content)
        return await replace_audio(rt, clip.id, await writer.finish(), Hints(), None)


async def test_a_row_comes_and_goes_with_its_clip(rt: Runtime) -> None:
    clip = await upload(rt, wav())
    assert await rows(rt) == {clip.blob_key} == await keys_in(rt.blobs)
    await remove_clip(rt, clip.id)
    assert await rows(rt) == set() == await keys_in(rt.blobs)


async def test_the_same_bytes_at_once_are_one_row(rt: Runtime, open_rt: Open) -> None:
    async with open_rt() as other:
        made = await asyncio.gather(*(upload(one, wav()) for one in (rt, other) * 4))
    assert len({clip.id for clip in made}) == 1
    assert await rows(rt) == {made[0].blob_key} == await keys_in(rt.blobs)


@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_removal_waits_for_an_upload_of_the_same_bytes(rt: Runtime, how: str) -> None:
    """Both lock the row first, so neither waits for the other with what that one needs."""
    clip = await upload(rt, wav())
    assert clip.sha256
    assert clip.size
    assert clip.media_type

    other = {"blob_key": "1" * 32, "sha256": bytes(32), "size": 1, "media_type": "audio/mpeg"}

    async def remove() -> None:
        async with rt.begin() as connection:
            if how == "removed":
                await clips.delete(connection, clip.id)
            else:
                await clips.replace_bytes(connection, clip, other)

    async def is_waiting() -> bool:
        async with rt.begin() as connection:
            query = (
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event_type = 'Lock')"
            )
            return bool(await connection.scalar(sa.text(query)))

    async with rt.begin() as connection:
        key = await blob_rows.add(
            connection, "0" * 32, sha256=clip.sha256, size=clip.size, media_type=clip.media_type
        )
        assert key == clip.blob_key
        removing = asyncio.create_task(remove())
        while not await is_waiting():
            await asyncio.sleep(0.01)
        insert = (
            "INSERT INTO clips (id, title, blob_key) VALUES (gen_random_uuid(), '', :key)"
            " ON CONFLICT (blob_key) DO NOTHING"
        )
        await connection.execute(sa.text(insert), {"key": clip.blob_key})
    await removing
    assert await rows(rt) == ({other["blob_key"]} if how == "replaced" else set())


async def test_a_clip_in_the_trash_has_its_row_under_another_key(open_rt: Open) -> None:
    async with open_rt(trash_days=7) as rt:
        clip = await upload(rt, wav())
        await remove_clip(rt, clip.id)
        (key,) = await rows(rt)
        assert key != clip.blob_key
        assert await keys_in(rt.blobs) == {key}
        back = await upload(rt, wav())
        assert (back.id, back.blob_key) == (clip.id, key)


async def test_replaced_bytes_lose_their_row(rt: Runtime) -> None:
    clip = await upload(rt, wav(seed=1))
    after = await replaced(rt, clip, wav(seed=2))
    assert after.blob_key != clip.blob_key
    assert (after.size, after.media_type) == (len(wav(seed=2)), clip.media_type)
    assert await rows(rt) == {after.blob_key} == await keys_in(rt.blobs)


async def test_a_replacement_that_is_refused_leaves_no_row(
    rt: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clip that has the bytes comes between the look and the transaction."""
    clip, other = await upload(rt, wav(seed=1)), await upload(rt, wav(seed=2))
    find = adding.find
    looks = 0

    async def not_yet(driver: object, sha256: bytes) -> Clip | None:
        nonlocal looks
        looks += 1
        return None if looks == 1 else await find(driver, sha256)  # type: ignore[arg-type]

    monkeypatch.setattr(adding, "find", not_yet)
    with pytest.raises(BytesTaken):
        await replaced(rt, clip, wav(seed=2))
    assert await rows(rt) == {clip.blob_key, other.blob_key} == await keys_in(rt.blobs)
    assert (await get_clip(rt, clip.id)).blob_key == clip.blob_key


async def test_an_upload_of_bytes_that_are_there_for_something_else_shares_them(rt: Runtime) -> None:
    blob_key = await lone_blob(rt, wav())
    clip = await upload(rt, wav())
    assert clip.blob_key == blob_key
    assert await keys_in(rt.blobs) == {blob_key} == await rows(rt)
    assert await read_blob(rt.blobs, blob_key) == wav()


async def test_so_does_a_replacement(rt: Runtime) -> None:
    blob_key = await lone_blob(rt, wav(seed=2))
    clip = await replaced(rt, await upload(rt, wav(seed=1)), wav(seed=2))
    assert clip.blob_key == blob_key
    assert await keys_in(rt.blobs) == {blob_key} == await rows(rt)


@pytest.mark.parametrize("left", [None, b"cut"])
async def test_bytes_that_the_store_has_lost_come_back_with_whoever_takes_over_their_row(
    rt: Runtime, left: bytes | None
) -> None:
    for number, give in enumerate((upload, replaced_by)):
        content = wav(seed=10 + number)
        lost = await lone_blob(rt, content)
        await rt.blobs.delete(lost)
        if left is not None:
            await put(rt, lost, left)
        clip = await give(rt, content)
        assert clip.blob_key
        assert clip.blob_key != lost
        assert clip == await get_clip(rt, clip.id)
        assert await read_blob(rt.blobs, clip.blob_key) == content
        assert clip.blob_key in await rows(rt)
        assert lost not in await rows(rt)


async def replaced_by(rt: Runtime, content: bytes) -> Clip:
    return await replaced(rt, await upload(rt, wav(seed=9)), content)


async def test_clips_that_swap_their_bytes_at_once_do_not_wait_for_each_other(rt: Runtime) -> None:
    made = [await upload(rt, wav(seed=1)), await upload(rt, wav(seed=2))]
    for _ in range(20):
        both = asyncio.Barrier(2)

        async def swap(clip: Clip, other: Clip, both: asyncio.Barrier = both) -> bool:
            changes = {"sha256": other.sha256, "size": other.size, "media_type": other.media_type}
            async with rt.begin() as connection:
                await clips.get(connection, clip.id, lock=True)
                await both.wait()
                done = await clips.replace_bytes(connection, clip, {**changes, "blob_key": key_of(0)})
                return done is not None

        first, second = made
        assert not any(await asyncio.gather(swap(first, second), swap(second, first)))
    assert await rows(rt) == {clip.blob_key for clip in made}


async def test_a_row_that_somebody_is_about_to_refer_to_stays(rt: Runtime) -> None:
    blob_key = await lone_blob(rt, wav())
    async with rt.begin() as referring:
        async with rt.begin() as connection:
            sha256 = await connection.scalar(sa.text("SELECT sha256 FROM blobs"))
        of_blob: dict[str, Any] = {"sha256": sha256, "size": 1, "media_type": "audio/mpeg"}
        assert await blob_rows.add(referring, key_of(0), **of_blob) == blob_key
        sweeping = asyncio.create_task(sweep(rt, grace_seconds=0))
        await asyncio.sleep(0.2)
        assert not sweeping.done()
        await referring.execute(
            sa.text("INSERT INTO clips (id, title, blob_key) VALUES (gen_random_uuid(), 't', :key)"),
            {"key": blob_key},
        )
    assert await sweeping == Swept()
    assert await known_keys(rt) == {blob_key} == await keys_in(rt.blobs)


async def test_what_nothing_refers_to_is_swept_with_its_row(rt: Runtime) -> None:
    clip, blob_key = await upload(rt, wav(seed=1)), await lone_blob(rt, wav(seed=2))
    assert await sweep(rt, grace_seconds=HOUR / 2) == Swept(blobs=1)
    assert await rows(rt) == {clip.blob_key} == await keys_in(rt.blobs)
    assert await swept_keys(rt) == {blob_key}


async def test_a_catalogue_that_was_emptied_by_hand_costs_no_blob_and_no_row(rt: Runtime) -> None:
    for seed in range(21):
        await upload(rt, wav(0.02, seed=seed))
    there = await rows(rt)
    async with rt.begin() as connection:
        await connection.execute(sa.text("DELETE FROM clips"))
    with pytest.raises(SweepRefused):
        await sweep(rt, grace_seconds=0)
    assert len(there) == 21
    assert await rows(rt) == there == await keys_in(rt.blobs)


async def test_a_swept_key_is_neither_inserted_nor_changed_to(rt: Runtime) -> None:
    swept = key_of(0)
    clip = await upload(rt, wav())
    assert clip.blob_key
    async with rt.begin() as connection:
        assert await blob_rows.mark_swept(connection, [swept, clip.blob_key]) == [swept]
    of_blob: dict[str, Any] = {"sha256": bytes(32), "size": 1, "media_type": "audio/mpeg"}
    with pytest.raises(BlobSwept):
        async with rt.begin() as connection:
            await blob_rows.add(connection, swept, **of_blob)
    with pytest.raises(BlobSwept):
        async with rt.begin() as connection:
            await blob_rows.change_key(connection, clip.blob_key, swept)
    assert await rows(rt) == {clip.blob_key}


async def test_an_upload_meets_the_removal_of_the_same_bytes(rt: Runtime, open_rt: Open) -> None:
    """Whoever comes first: no row lacks its bytes, and one more upload has a clip that plays. (Bytes that
    were put back for a clip which was removed just then are an orphan.)"""
    async with open_rt() as other:
        clip = await upload(rt, wav())
        for _ in range(10):
            made, _ = await asyncio.gather(
                upload(other, wav()), remove_clip(rt, clip.id), return_exceptions=True
            )
            assert isinstance(made, Clip | Unavailable)
            assert await rows(rt) <= await keys_in(rt.blobs)
            clip = await upload(rt, wav())
            assert clip.blob_key
            assert await rows(rt) == {clip.blob_key}
            assert await read_blob(rt.blobs, clip.blob_key) == wav()


async def test_ingest_tells_a_new_clip_from_one_that_was_there(rt: Runtime) -> None:
    await lone_blob(rt, wav())
    for is_new in (True, False):
        async with rt.staging.create(Incoming(limit=10**9)) as writer:
            await writer.write(wav())
            assert (await ingest(rt, await writer.finish(), Hints()))[1] is is_new
