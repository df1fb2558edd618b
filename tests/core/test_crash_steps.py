"""A process that dies at any one step of an upload or a delete."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from asyncpg import Connection

from mosic.core.append import append
from mosic.core.catalog import remove_clip
from mosic.core.ingest import Hints
from mosic.core.runtime import Runtime
from mosic.core.sweep import audit, sweep
from mosic.core.uploads import create, look_up, remove
from mosic.db import clips
from mosic.errors import ClientDisconnected
from mosic.wire.tus import Append, Creation, Metadata
from tests.sounds import wav
from tests.stores import keys_in, known_keys, upload

# Does one thing and dies before or after the n-th call that changes the disk or the database; says how far it
# came. What it does is real, only the moment is chosen.
DYING = """
import asyncio, os, signal, sys
from hashlib import sha1
from uuid import UUID
from asyncpg import Connection
from asyncpg.transaction import Transaction
from mosic.boot import open_runtime
from mosic.core.catalog import remove_clip
from mosic.core.ingest import Hints, ingest
from mosic.metrics import Metrics
from mosic.settings import load_settings
from mosic.core.append import append
from mosic.wire.tus import Append, Checksum

HALF = 1000
left = None

def step():
    global left
    if left is not None:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

def dying(call):
    def wrapped(*args, **kwargs):
        step()
        done = call(*args, **kwargs)
        step()
        return done
    return wrapped

for name in ("fsync", "link", "mkdir", "pwrite", "unlink"):
    setattr(os, name, dying(getattr(os, name)))

commit = Transaction.commit

async def dying_commit(self):
    step()
    await commit(self)
    step()

Transaction.commit = dying_commit

fetchrow = Connection.fetchrow

async def dying_fetchrow(self, *args, **kwargs):
    step()
    row = await fetchrow(self, *args, **kwargs)
    step()
    return row

Connection.fetchrow = dying_fetchrow

async def chunks(*content):
    for chunk in content:
        yield chunk

async def main(what, subject, content=""):
    global left
    content = bytes.fromhex(content)
    async with open_runtime(load_settings(), Metrics()) as rt:
        left = int(sys.argv[1])
        if what == "delete":
            await remove_clip(rt, UUID(subject), {})
        elif what == "resume":
            checksum = Checksum("sha1", sha1(content).digest())
            await append(rt, UUID(subject), Append(HALF, None, len(content), checksum), chunks(content))
        else:
            async with rt.staging.receive(limit=10**9) as writer:
                await writer.write(content)
                await ingest(rt, await writer.finish(), Hints())
        print("done", flush=True)

asyncio.run(main(*sys.argv[2:]))
"""


def dies(rt: Runtime, step: int, *what: str) -> bool:
    """Whether the process came to the end: it is killed at the step, if there is one."""
    url = rt.settings.database_url_override
    assert url
    ended = subprocess.run(
        [sys.executable, "-c", DYING, str(step), *what],
        env={
            **os.environ,
            "MOSIC_API_KEY": "k",
            "MOSIC_DATABASE_URL_OVERRIDE": url.get_secret_value(),
            "MOSIC_DATA_DIR": str(rt.settings.data_dir),
            "MOSIC_MEDIA_ROOT": str(rt.settings.media_root),
            "MOSIC_PROBE_WORKERS": "1",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode in (0, -9), ended.stderr
    return ended.returncode == 0


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
    for step in range(1, 100):
        content = wav(seed=step)
        before = await known_keys(rt)
        done = dies(rt, step, "upload", "", content.hex())
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
    for step in range(1, 100):
        clip = await upload(rt, wav(seed=step))
        done = dies(rt, step, "delete", str(clip.id))
        assert not done or await known_keys(rt) == set()
        await no_trouble(rt)
        if done:
            break
        for blob_key in await known_keys(rt):
            await remove_clip(rt, UUID(hex=blob_key), {})
    assert 5 < step < 99


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_resumed_upload_that_dies_at_any_step_of_its_end(rt: Runtime) -> None:
    """With a checksum, so that the last piece counts as a whole or not at all."""
    for step in range(1, 100):
        content = wav(seed=step)
        creation = Creation(len(content), Metadata("", {}), True, 1000, None)
        upload_id = (await create(rt, creation, Hints(), body(content[:1000]))).id
        before = await known_keys(rt)
        done = dies(rt, step, "resume", str(upload_id), content[1000:].hex())
        await no_trouble(rt)
        state = await look_up(rt, upload_id)
        if state.clip_id is None:
            assert state.offset == 1000
            # Another try sends something else and breaks off: no clip must take harm from that.
            with pytest.raises(ClientDisconnected):
                await append(rt, upload_id, Append(1000, None, None, None), body(b"?" * 100, fails=True))
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
