"""The audit finds what is wrong and nothing that is not, also while clips come and go."""

from __future__ import annotations

import asyncio
import dataclasses
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mosic.core.catalog import remove_clip
from mosic.core.runtime import Runtime
from mosic.core.sweep import Finding, audit
from mosic.db.clips import Clip
from mosic.errors import BlobMissing
from tests.support.sounds import wav
from tests.support.stores import HOUR, FailingOnce, insert_clips, key_of, paused, put, read_blob, upload

MEBIBYTE = 1024 * 1024


async def findings(rt: Runtime, grace_seconds: float = HOUR) -> list[Finding]:
    return [finding async for finding in audit(rt, grace_seconds=grace_seconds, on_progress=lambda *_: None)]


def path_of(rt: Runtime, clip: Clip) -> Path:
    (path,) = rt.settings.media_root.glob(f"blobs/*/{clip.blob_key}")
    return path


async def test_all_is_well(rt: Runtime) -> None:
    clips = [await upload(rt, wav(seed=seed)) for seed in range(3)]
    seen: list[tuple[int, int]] = []
    found = audit(rt, grace_seconds=0, on_progress=lambda *told: seen.append(told))
    assert [finding async for finding in found] == []
    size = clips[0].size or 0
    assert seen == [(1, size), (2, 2 * size), (3, 3 * size)]


async def test_an_empty_catalogue(rt: Runtime) -> None:
    assert await findings(rt) == []


async def test_each_finding_is_told_and_named(rt: Runtime) -> None:
    whole, gone, cut, grown, other = [await upload(rt, wav(seed=seed)) for seed in range(5)]
    path_of(rt, gone).unlink()
    with path_of(rt, cut).open("r+b") as file:
        file.truncate(1000)
    with path_of(rt, grown).open("ab") as file:
        file.write(b"\0")
    with path_of(rt, other).open("r+b") as file:
        file.seek(2000)
        byte = file.read(1)
        file.seek(2000)
        file.write(bytes([byte[0] ^ 1]))
    orphan, young = await put(rt, key_of(HOUR)), await put(rt, key_of(0))
    size = other.size
    assert await findings(rt) == [
        Finding("missing", gone.id.hex, gone.id, "the store does not have it"),
        Finding("corrupt", cut.id.hex, cut.id, f"has 1000 bytes instead of {size}"),
        Finding("corrupt", grown.id.hex, grown.id, f"has {(size or 0) + 1} bytes instead of {size}"),
        Finding("corrupt", other.id.hex, other.id, "its bytes are not those that were uploaded"),
        Finding("orphaned", orphan, None, "it belongs to no clip"),
    ]
    assert {finding.blob_key for finding in await findings(rt, 0)} >= {orphan, young}
    assert path_of(rt, whole).read_bytes() == wav(seed=0)


async def test_more_clips_than_one_page_holds(rt: Runtime) -> None:
    async with rt.begin() as connection:
        await insert_clips(connection, *(f"{number:032x}" for number in range(1001)))
    found = await findings(rt)
    assert len({finding.clip_id for finding in found}) == len(found) == 1001
    assert {finding.kind for finding in found} == {"missing"}


async def test_a_blob_that_cannot_be_read(rt: Runtime) -> None:
    clip = await upload(rt, wav())

    class Blobs:
        def __getattr__(self, name: str) -> Any:
            return getattr(rt.blobs, name)

        @asynccontextmanager
        async def open(self, blob_key: str) -> AsyncIterator[Any]:
            async with rt.blobs.open(blob_key) as blob:
                failing: Any = FailingOnce(blob, "read")
                failing.size = blob.size
                yield failing

    blobs: Any = Blobs()
    assert await findings(dataclasses.replace(rt, blobs=blobs)) == [
        Finding("corrupt", clip.id.hex, clip.id, "cannot be read: the medium fails")
    ]


@pytest.mark.parametrize("moment", ["before it is opened", "while it is read"])
async def test_a_clip_that_is_deleted_meanwhile_is_no_finding(rt: Runtime, moment: str) -> None:
    clips = [await upload(rt, wav(seed=seed)) for seed in range(3)]
    before = moment == "before it is opened"
    slow, blobs = paused(rt, "open", after=not before)
    auditing = asyncio.create_task(findings(slow))
    await blobs.reached.wait()
    for clip in clips:
        await remove_clip(rt, clip.id)
    blobs.go_on.set()
    assert await auditing == []
    with pytest.raises(BlobMissing):
        await read_blob(rt.blobs, clips[0].id.hex)


async def test_a_clip_that_is_being_deleted_leaves_no_orphan(rt: Runtime) -> None:
    clip = await upload(rt, wav())
    slow, blobs = paused(rt, "delete")
    deleting = asyncio.create_task(remove_clip(slow, clip.id))
    await blobs.reached.wait()  # the row is gone, the bytes are there
    auditing = asyncio.create_task(findings(rt, 0))
    await asyncio.sleep(0.2)
    blobs.go_on.set()
    await deleting
    assert await auditing == []


async def test_memory_stays_flat(rt: Runtime) -> None:
    clip = await upload(rt, wav())
    size = 64 * MEBIBYTE
    with path_of(rt, clip).open("r+b") as file:
        file.truncate(size)
    async with rt.begin() as connection:
        await connection.execute(sa.text("UPDATE blobs SET size = :size"), {"size": size})
    await findings(rt)
    tracemalloc.start()
    try:
        (finding,) = await findings(rt)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert finding.detail == "its bytes are not those that were uploaded"
    assert peak < 8 * MEBIBYTE
