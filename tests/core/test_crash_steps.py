"""A process that dies at any one step of an upload or a delete."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from asyncpg import Connection

from mosic.core.catalog import remove_clip
from mosic.core.ingest import Hints
from mosic.core.runtime import Runtime
from mosic.core.sweep import audit, sweep
from mosic.core.trash import restore_clip
from mosic.core.uploads.append import append
from mosic.core.uploads.unfinished import create, look_up, remove
from mosic.db import clips
from mosic.errors import ClientDisconnected
from mosic.wire.tus import Append, Creation, Metadata
from tests.core.dying import HALF, dying
from tests.support.sounds import wav
from tests.support.stores import Open, keys_in, known_keys, upload


async def no_trouble(rt: Runtime) -> None:
    """What a crash left is swept, and then catalogue and store are one."""
    troubles = [
        trouble
        async for trouble in audit(rt, grace_seconds=0, on_progress=lambda *_: None)
        if trouble.kind != "orphaned"
    ]
    assert troubles == []
    await sweep(rt, grace_seconds=0)
    assert await keys_in(rt.blobs) == await known_keys(rt)
    assert list((rt.settings.media_root / ".staging").glob("*.part")) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_an_upload_that_dies_at_any_step(rt: Runtime) -> None:
    with dying(rt) as dies:
        for step in range(1, 100):
            content = wav(seed=step)
            before = await known_keys(rt)
            done = dies(step, "upload", "", content)
            after = await known_keys(rt)
            assert before <= after
            assert not done or len(after) == len(before) + 1
            await no_trouble(rt)
            # To repeat it gives one clip, whether the first came to be or not.
            clip = await upload(rt, content)
            assert (clip.size, clip.sha256) == (len(content), hashlib.sha256(content).digest())
            assert len(await known_keys(rt)) == len(before) + 1
            if done:
                break
    # Write, fsync, a new folder, link, unlink, fsync, three commits at least: before and after.
    assert 16 < step < 99


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_delete_that_dies_at_any_step(rt: Runtime) -> None:
    with dying(rt) as dies:
        for step in range(1, 100):
            clip = await upload(rt, wav(seed=step))
            done = dies(step, "delete", str(clip.id))
            assert not done or await known_keys(rt) == set()
            await no_trouble(rt)
            if done:
                break
            for blob_key in await known_keys(rt):
                await remove_clip(rt, UUID(hex=blob_key))
    assert 5 < step < 99


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_clip_that_dies_on_its_way_to_the_trash(open_rt: Open) -> None:
    """It is in the catalogue or in the trash, and whole; nothing else is left."""
    async with open_rt(trash_days=7) as rt:
        with dying(rt) as dies:
            for step in range(1, 100):
                content = wav(seed=step)
                clip = await upload(rt, content)
                done = dies(step, "delete", str(clip.id))
                await no_trouble(rt)
                restored = await restore_clip(rt, clip.id)
                assert restored.blob_key is not None
                assert await keys_in(rt.blobs) == {restored.blob_key}
                assert hashlib.sha256(content).digest() == restored.sha256
                await no_trouble(rt)
                await remove_clip(rt, clip.id)
                await sweep(rt, grace_seconds=0, empty_trash=True)
                assert await keys_in(rt.blobs) == set()
                if done:
                    assert restored.blob_key != clip.blob_key
                    break
        assert 5 < step < 99


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_replacement_that_dies_at_any_step(rt: Runtime) -> None:
    """The clip has the old bytes or the new ones."""
    with dying(rt) as dies:
        for step in range(1, 100):
            old, new = wav(seed=step), wav(0.4, seed=step)
            clip = await upload(rt, old)
            done = dies(step, "replace", str(clip.id), new)
            await no_trouble(rt)
            async with rt.begin() as connection:
                found = await clips.get(connection, clip.id)
            assert found is not None
            allowed = [hashlib.sha256(content).digest() for content in (old, new)]
            assert found.sha256 in (allowed[1:] if done else allowed)
            assert await keys_in(rt.blobs) == {found.blob_key}
            await remove_clip(rt, clip.id)
            if done:
                break
    assert 5 < step < 99


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_resumed_upload_that_dies_at_any_step_of_its_end(rt: Runtime) -> None:
    """With a checksum, so that the last piece counts as a whole or not at all."""
    with dying(rt) as dies:
        for step in range(1, 100):
            content = wav(seed=step)
            creation = Creation(len(content), Metadata("", {}), True, HALF, None)
            upload_id = (await create(rt, creation, Hints(), body(content[:HALF]))).id
            before = await known_keys(rt)
            done = dies(step, "resume", str(upload_id), content[HALF:])
            await no_trouble(rt)
            state = await look_up(rt, upload_id)
            if state.clip_id is None:
                assert state.offset == HALF
                # Another try sends something else and breaks off: no clip must take harm from that.
                with pytest.raises(ClientDisconnected):
                    await append(rt, upload_id, Append(HALF, None, None, None), body(b"?" * 100, fails=True))
                await no_trouble(rt)
                await remove(rt, upload_id)
                await upload(rt, content)
            await no_trouble(rt)
            (blob_key,) = await known_keys(rt) - before
            async with rt.begin() as connection:
                clip = await clips.get(connection, UUID(hex=blob_key))
            assert clip is not None
            assert (clip.size, clip.sha256) == (len(content), hashlib.sha256(content).digest())
            if done:
                break
    assert 16 < step < 99


async def body(*chunks: bytes, fails: bool = False) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    if fails:
        raise ClientDisconnected


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_what_is_promised_is_on_the_disk_before_the_row(
    rt: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes, then the name that leads to them, then the names of new folders, then the commit."""
    done: list[tuple[str, str]] = []

    def told(name: str) -> None:
        call = getattr(os, name)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            result = call(*arguments, **options)
            subject = arguments[1] if name == "link" else arguments[0]
            path = os.readlink(f"/proc/self/fd/{subject}") if isinstance(subject, int) else os.fspath(subject)
            done.append((name, Path(path).name))
            return result

        monkeypatch.setattr(os, name, wrapped)

    for name in ("fsync", "link", "mkdir", "pwrite"):
        told(name)
    fetchrow = Connection.fetchrow

    async def told_statement(connection: Connection, statement: str, *arguments: Any) -> Any:
        row = await fetchrow(connection, statement, *arguments)
        done.append(("insert" if "INSERT INTO clips" in statement else "look", ""))
        return row

    monkeypatch.setattr(Connection, "fetchrow", told_statement)
    clip = await upload(rt, wav())
    key = clip.id.hex
    (staged,) = {name for call, name in done if call == "pwrite"}
    order = [
        ("pwrite", staged),
        ("fsync", staged),
        ("link", key),
        ("fsync", key[-2:]),
        ("insert", ""),
    ]
    last = [len(done) - 1 - done[::-1].index(step) for step in order]
    assert last == sorted(last)
    assert done.index(("mkdir", key[-2:])) < done.index(("fsync", "blobs")) < last[-1]
