"""The sweep takes what is left behind and nothing else, whatever happens at the same time."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from mosic.core.catalog import list_clips
from mosic.core.ingest import Hints
from mosic.core.runtime import Runtime
from mosic.core.sweep import SweepRefused, Swept, sweep, sweeping
from mosic.core.uploads.unfinished import create, look_up
from mosic.db import adding
from mosic.db.blobs import BlobSwept
from mosic.db.clips import NewClip
from mosic.errors import UploadNotFound
from mosic.staging import Incoming
from mosic.wire.tus import Creation, Metadata
from tests.support.sounds import wav
from tests.support.stores import (
    HOUR,
    FailingOnce,
    Open,
    insert_clips,
    key_of,
    keys_in,
    known_keys,
    put,
    swept_keys,
    upload,
)

NOTHING = Swept()


# What is taken and what is left


async def test_orphans_older_than_the_grace_period_go(rt: Runtime) -> None:
    clip = await upload(rt, wav())
    old, young = await put(rt, key_of(HOUR + 60)), await put(rt, key_of(HOUR - 60))
    assert await sweep(rt, grace_seconds=HOUR) == Swept(blobs=1)
    assert await keys_in(rt.blobs) == {clip.blob_key, young}
    assert await rt.blobs.stat(old) is None
    assert await sweep(rt, grace_seconds=HOUR) == NOTHING
    assert await sweep(rt, grace_seconds=0) == Swept(blobs=1)
    assert await keys_in(rt.blobs) == {clip.blob_key}


async def test_a_blob_is_as_old_as_its_publication_not_as_its_bytes(rt: Runtime) -> None:
    """The last byte of a resumable upload may have come days before somebody finished it."""
    blob_key = await put(rt, key_of(0))
    (path,) = rt.settings.media_root.glob(f"blobs/*/{blob_key}")
    os.utime(path, (1, 1))
    assert await sweep(rt, grace_seconds=HOUR) == NOTHING
    assert await rt.blobs.stat(blob_key) is not None


async def test_a_key_without_a_time_is_as_old_as_the_store_says(rt: Runtime) -> None:
    blob_key = await put(rt, "d41d8cd98f00b204e9800998ecf8427e")
    assert await sweep(rt, grace_seconds=HOUR) == NOTHING
    (path,) = rt.settings.media_root.glob(f"blobs/*/{blob_key}")
    os.utime(path, (1, 1))
    assert await sweep(rt, grace_seconds=HOUR) == Swept(blobs=1)


async def test_notes_on_swept_blobs_go_once_nobody_can_need_them(rt: Runtime) -> None:
    """A month after the key was made no clip gets it, swept or not."""
    day = 24 * HOUR
    young, old = key_of(29 * day), key_of(40 * day)
    notes = sa.text(
        "INSERT INTO swept_blobs (blob_key, swept_at)"
        " VALUES (:young, now() - interval '40 days'), (:old, now() - interval '40 days'), (:late, now())"
    )
    late = key_of(41 * day)
    async with rt.begin() as connection:
        await connection.execute(notes, {"young": young, "old": old, "late": late})
    await sweep(rt, grace_seconds=HOUR)
    assert await swept_keys(rt) == {young, late}
    for blob_key in (young, old):
        new = NewClip(
            id=uuid4(), title="t", blob_key=blob_key, size=6, sha256=b"x" * 32, media_type="audio/mpeg"
        )
        async with rt.statements() as driver:
            with pytest.raises(BlobSwept):
                await adding.insert(driver, new)


async def test_a_clip_restored_from_a_backup_has_its_old_blob(rt: Runtime) -> None:
    blob_key = await put(rt, key_of(400 * 24 * HOUR))
    async with rt.begin() as connection:
        await insert_clips(connection, blob_key, days_ago=400)
    assert await sweep(rt, grace_seconds=0) == NOTHING


async def test_a_large_catalogue_can_be_filled_in_one_transaction(rt: Runtime) -> None:
    """As a restore does: PostgreSQL has room for some six thousand locks."""
    async with rt.begin() as connection:
        await insert_clips(connection, *(f"{number:032x}" for number in range(20_000)))
    assert len(await known_keys(rt)) == 1000  # as many as it shows


async def test_more_orphans_than_one_batch_holds(rt: Runtime) -> None:
    clip = await upload(rt, wav())
    for _ in range(1203):
        await put(rt, key_of(HOUR))
    assert await sweep(rt, grace_seconds=HOUR, force=True) == Swept(blobs=1203)
    assert await keys_in(rt.blobs) == {clip.blob_key}


async def test_staged_files_go_unless_a_living_process_holds_them(rt: Runtime) -> None:
    staging = rt.settings.media_root / ".staging"
    left = staging / f"{'0' * 32}.part"
    left.write_bytes(b"of a process that was killed")
    async with rt.staging.create(Incoming(limit=100)) as writer:
        await writer.write(b"being received")
        assert await sweep(rt, grace_seconds=HOUR) == NOTHING
        assert await sweep(rt, grace_seconds=0) == Swept(staged=1)
        assert not left.exists()
        staged = await writer.finish()
        assert staged.path.read_bytes() == b"being received"


async def test_expired_uploads_go_with_their_bytes(rt: Runtime) -> None:
    creation = Creation(10, Metadata("", {}), True, 4, None)
    expired, going_on = [await create(rt, creation, Hints(), body(b"half")) for _ in range(2)]
    assert await sweep(rt, grace_seconds=0) == NOTHING
    async with rt.begin() as connection:
        await connection.execute(
            sa.text("UPDATE uploads SET expires_at = now() WHERE id = :id"), {"id": expired.id}
        )
    assert await sweep(rt, grace_seconds=HOUR) == Swept(uploads=1)
    with pytest.raises(UploadNotFound):
        await look_up(rt, expired.id)
    assert (await look_up(rt, going_on.id)).offset == 4
    assert [path.name for path in (rt.settings.media_root / ".staging").iterdir()] == [
        f"{going_on.id}.upload"
    ]


async def test_bytes_of_uploads_that_are_no_more_go(rt: Runtime) -> None:
    """As when a process is killed after it removed the row, or in the middle of removing the files."""
    staging = rt.settings.media_root / ".staging"
    (staging / f"{uuid4()}.upload").write_bytes(b"left")
    await sweep(rt, grace_seconds=HOUR)
    assert len(list(staging.glob("*.upload"))) == 1
    await sweep(rt, grace_seconds=0)
    assert list(staging.iterdir()) == []


async def test_an_upload_that_is_whole_becomes_a_clip_although_its_process_died(rt: Runtime) -> None:
    content = wav()
    creation = Creation(len(content), Metadata("", {}), False, None, None)
    upload_id = (await create(rt, creation, Hints(title="T"), body())).id
    (rt.settings.media_root / ".staging" / f"{upload_id}.upload").write_bytes(content)
    await sweep(rt, grace_seconds=HOUR)
    (clip,) = (await list_clips(rt, limit=1)).clips
    assert (clip.title, clip.size) == ("T", len(content))
    assert (await look_up(rt, upload_id)).clip_id == clip.id
    assert list((rt.settings.media_root / ".staging").iterdir()) == []


async def body(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_half_copies_into_a_store_elsewhere_go_unless_held(rt: Runtime) -> None:
    folder = rt.settings.media_root / "blobs" / "ab"
    folder.mkdir()
    key = key_of(0)
    left, held, foreign = folder / f".{key}.1", folder / f".{key}.2", folder / ".DS_Store"
    for path in (left, held, foreign):
        path.write_bytes(b"half")
    with held.open("rb") as file:
        flock(file, LOCK_EX)
        assert await sweep(rt, grace_seconds=HOUR) == NOTHING
        assert await sweep(rt, grace_seconds=0) == Swept(staged=1)
    assert sorted(folder.iterdir()) == sorted([held, foreign])


async def test_a_store_on_another_file_system(open_rt: Open, tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    store = elsewhere / f"mosic-{os.urandom(4).hex()}"
    store.mkdir()
    try:
        async with open_rt(store_url=f"file://{store}") as rt:
            clip = await upload(rt, wav())
            assert await sweep(rt, grace_seconds=0) == NOTHING
            assert await keys_in(rt.blobs) == {clip.blob_key}
            assert len([path for path in store.rglob("*") if path.is_file()]) == 2
    finally:
        for path in sorted(store.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        store.rmdir()


async def test_what_was_swept_is_counted(rt: Runtime) -> None:
    await put(rt, key_of(HOUR))
    await sweep(rt, grace_seconds=0)
    await sweep(rt, grace_seconds=0)
    shown = rt.metrics.exposition("")[0].decode()
    assert "mosic_sweeps_total 2.0" in shown
    assert 'mosic_swept_total{kind="blob"} 1.0' in shown
    assert 'mosic_swept_total{kind="staged"} 0.0' in shown


# The wrong database


async def test_more_orphans_than_clips_are_not_believed(rt: Runtime) -> None:
    """As where a service was started with an empty database beside a full store."""
    await upload(rt, wav())
    keys = {await put(rt, key_of(HOUR)) for _ in range(21)}
    with pytest.raises(SweepRefused, match="Is this the database"):
        await sweep(rt, grace_seconds=0)
    assert keys < await keys_in(rt.blobs)
    assert await swept_keys(rt) == set()
    assert await sweep(rt, grace_seconds=0, force=True) == Swept(blobs=21)


async def test_more_orphans_than_clips_are_believed_while_they_are_few(rt: Runtime) -> None:
    for _ in range(20):
        await put(rt, key_of(HOUR))
    assert await sweep(rt, grace_seconds=0) == Swept(blobs=20)


# Now and then


async def test_the_service_sweeps_by_itself(open_rt: Open) -> None:
    async with open_rt(sweep_seconds=0.2, sweep_grace_seconds=HOUR) as rt:
        async with sweeping(rt):
            for _ in range(2):
                orphan, young = await put(rt, key_of(HOUR)), await put(rt, key_of(0))
                async with asyncio.timeout(60):
                    while await rt.blobs.stat(orphan) is not None:
                        await asyncio.sleep(0.01)
                assert await rt.blobs.stat(young) is not None
        last = await put(rt, key_of(HOUR))
        await asyncio.sleep(0.5)
        assert await rt.blobs.stat(last) is not None


async def test_the_service_can_be_told_not_to_sweep(open_rt: Open) -> None:
    async with open_rt(sweep_seconds=0) as rt, sweeping(rt):
        orphan = await put(rt, key_of(HOUR))
        await asyncio.sleep(0.3)
        assert await rt.blobs.stat(orphan) is not None


async def test_a_sweep_that_fails_is_not_the_last(open_rt: Open) -> None:
    async with open_rt(sweep_seconds=0.1, sweep_grace_seconds=HOUR) as rt:
        blobs: Any = FailingOnce(rt.blobs, "keys")
        async with sweeping(dataclasses.replace(rt, blobs=blobs)):
            orphan = await put(rt, key_of(HOUR))
            async with asyncio.timeout(60):
                while await rt.blobs.stat(orphan) is not None:
                    await asyncio.sleep(0.01)
        assert blobs.failed
