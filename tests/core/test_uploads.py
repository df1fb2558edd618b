"""Resumable uploads across processes, crashes and time. Each runtime is what one process holds."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from fcntl import LOCK_EX, flock
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from mosic.core.catalog import list_clips
from mosic.core.ingest import Hints
from mosic.core.runtime import Runtime
from mosic.core.uploads import finish as finish_module
from mosic.core.uploads.append import append
from mosic.core.uploads.leftovers import finish_whole, remove_expired
from mosic.core.uploads.state import UploadState
from mosic.core.uploads.unfinished import create, look_up, remove
from mosic.db import uploads
from mosic.db.clips import get as get_clip
from mosic.errors import (
    ChecksumMismatch,
    ClientDisconnected,
    InsufficientStorage,
    MosicError,
    OffsetMismatch,
    Unavailable,
    UnsupportedMedia,
    UploadGone,
    UploadInterrupted,
    UploadLocked,
    UploadNotFound,
    UploadStalled,
)
from mosic.settings.timings import Timings
from mosic.wire.tus import Append, Checksum, Creation, Metadata
from tests.support.sounds import wav
from tests.support.stores import Open, paused, read_blob

MEBIBYTE = 1024 * 1024


@pytest.fixture
async def two(open_rt: Open) -> AsyncIterator[tuple[Runtime, Runtime]]:
    async with open_rt() as first, open_rt() as second:
        yield first, second


async def chunks(*content: bytes | BaseException | float) -> AsyncIterator[bytes]:
    """A body: bytes come, a number is a pause of so many seconds, an error ends it."""
    for part in content:
        if isinstance(part, BaseException):
            raise part
        if isinstance(part, bytes):
            yield part
        else:
            await asyncio.sleep(part)


async def silence(*content: bytes) -> AsyncIterator[bytes]:
    """Bytes come, and then nothing more, not even an end."""
    for part in content:
        yield part
    await asyncio.sleep(60)


async def created(rt: Runtime, length: int | None) -> UUID:
    creation = Creation(length, Metadata("", {}), with_upload=False, body_size=0, checksum=None)
    return (await create(rt, creation, Hints(file_name="song.wav"), chunks())).id


async def send(
    rt: Runtime,
    upload_id: UUID,
    offset: int,
    *content: bytes | BaseException | float,
    sha1: bytes | None = None,
    length: int | None = None,
) -> UploadState:
    checksum = (
        Checksum("sha1", hashlib.sha1(sha1, usedforsecurity=False).digest()) if sha1 is not None else None
    )
    return await append(rt, upload_id, Append(offset, length, None, checksum), chunks(*content))


async def clips(rt: Runtime) -> list[tuple[UUID, str]]:
    page = await list_clips(rt, limit=100)
    return [(clip.id, clip.sha256.hex()) for clip in page.clips if clip.sha256]


async def only_clip(rt: Runtime, content: bytes) -> UUID:
    """That with this content, which must be the only one."""
    ((clip_id, sha256),) = await clips(rt)
    assert sha256 == hashlib.sha256(content).hexdigest()
    return clip_id


def staged(rt: Runtime) -> list[str]:
    return sorted(path.name for path in (rt.settings.media_root / ".staging").iterdir())


async def outcome(call: Awaitable[UploadState]) -> str:
    try:
        await call
    except MosicError as error:
        return error.code
    return "done"


# Several processes


async def test_pieces_that_come_to_different_processes(
    two: tuple[Runtime, Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_again: list[int] = []
    file_digest = hashlib.file_digest

    def spy(stream: Any, *rest: Any) -> Any:
        read_again.append(os.fstat(stream.fileno()).st_size - stream.tell())
        return file_digest(stream, *rest)

    monkeypatch.setattr(hashlib, "file_digest", spy)
    audio = wav(300)
    assert len(audio) > 4 * MEBIBYTE
    upload_id = await created(two[0], len(audio))
    at = 0
    for rt, size in ((two[0], 3 * MEBIBYTE), (two[1], MEBIBYTE), (two[0], len(audio))):
        at = (await send(rt, upload_id, at, audio[at : at + size])).offset
    assert (await look_up(two[1], upload_id)).clip_id == await only_clip(two[1], audio)
    # The process that finishes hashed what it got as it came: only the other's share is read again.
    assert read_again == [len(audio) - 3 * MEBIBYTE]
    assert staged(two[0]) == []


@pytest.mark.parametrize("same", [True, False], ids=["same process", "other process"])
@pytest.mark.parametrize("sent", [0, 1, 100_000, 2 * MEBIBYTE + 17])
async def test_a_silent_writer_is_taken_over(two: tuple[Runtime, Runtime], same: bool, sent: int) -> None:
    first, second = two[0], two[0] if same else two[1]
    audio = wav(200)
    upload_id = await created(first, len(audio))
    silent = asyncio.create_task(
        append(first, upload_id, Append(0, None, len(audio), None), silence(audio[:sent]))
    )
    await asyncio.sleep(0.05)
    loop = asyncio.get_running_loop()
    looked = loop.time()
    assert (await look_up(second, upload_id)).offset == sent
    began = loop.time()
    state = await send(second, upload_id, sent, audio[sent:])
    assert loop.time() - began < 2
    assert began - looked < 1
    assert state.clip_id == await only_clip(second, audio)
    with pytest.raises(UploadLocked):
        await silent


@pytest.mark.parametrize("same", [True, False], ids=["same process", "other process"])
async def test_a_living_writer_is_left_alone(two: tuple[Runtime, Runtime], same: bool) -> None:
    first, second = two[0], two[0] if same else two[1]
    audio = wav(1)
    upload_id = await created(first, len(audio))
    pieces = [part for at in range(0, len(audio), 4000) for part in (audio[at : at + 4000], 0.25)]
    living = asyncio.create_task(send(first, upload_id, 0, *pieces))
    await asyncio.sleep(0.05)
    with pytest.raises(OffsetMismatch):
        await send(second, upload_id, 0, audio)
    assert 0 < (await look_up(second, upload_id)).offset < len(audio)
    assert (await living).clip_id == await only_clip(second, audio)


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("with_checksum", [False, True])
async def test_of_many_in_two_processes_one_wins(
    two: tuple[Runtime, Runtime], size: int, with_checksum: bool
) -> None:
    upload_id = await created(two[0], 10**7)
    bodies = [bytes([n]) * size for n in range(6)]
    found = await asyncio.gather(
        *(
            outcome(send(two[n % 2], upload_id, 0, body, sha1=body if with_checksum else None))
            for n, body in enumerate(bodies)
        )
    )
    assert found.count("done") == 1, found
    assert set(found) <= {"done", "offset-mismatch", "upload-locked"}
    path = two[0].settings.media_root / ".staging" / f"{upload_id}.upload"
    assert path.read_bytes() == bodies[found.index("done")]


async def test_a_writer_that_was_replaced_is_not_told_that_it_succeeded(
    two: tuple[Runtime, Runtime],
) -> None:
    """Even where it does not hear of it before it ends: the row has the last word."""
    upload_id = await created(two[0], 1000)

    async def replaced() -> AsyncIterator[bytes]:
        yield bytes(10)
        async with two[1].begin() as connection:
            await connection.execute(sa.text("UPDATE uploads SET writer = gen_random_uuid()"))

    with pytest.raises(UploadLocked):
        await append(two[0], upload_id, Append(0, None, 10, None), replaced())


async def test_a_holder_that_does_not_let_go(rt: Runtime) -> None:
    """As of a process that was stopped: whoever comes goes on without it, and without being told to wait."""
    audio = wav(20)
    upload_id = await created(rt, len(audio))
    await send(rt, upload_id, 0, audio[:1000])
    path = rt.settings.media_root / ".staging" / f"{upload_id}.upload"
    with path.open("r+b") as file:
        flock(file, LOCK_EX)
        await send(rt, upload_id, 1000, audio[1000:2000])
        # The stopped one wakes up, in the middle of what it was doing.
        file.seek(1000)
        file.write(b"late" * 5000)
        file.flush()
        assert (await look_up(rt, upload_id)).offset == 2000
        with pytest.raises(OffsetMismatch):
            await send(rt, upload_id, 1000, b"y")
    assert len(staged(rt)) == 1
    assert (await send(rt, upload_id, 2000, audio[2000:])).clip_id == await only_clip(rt, audio)
    assert staged(rt) == []


async def test_what_a_replaced_holder_writes_late_counts_for_nothing(
    two: tuple[Runtime, Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that stops in the middle of a write, and goes on when another has taken over."""
    first, second = two
    audio = wav(300)
    upload_id = await created(first, len(audio))
    stopped, go_on = threading.Event(), threading.Event()
    pwrite = os.pwrite

    def stopping(descriptor: int, data: bytes, at: int) -> int:
        if at == MEBIBYTE and not stopped.is_set():
            stopped.set()
            go_on.wait(30)
        return pwrite(descriptor, data, at)

    monkeypatch.setattr(os, "pwrite", stopping)
    loop = asyncio.get_running_loop()
    wrong = bytes(2 * MEBIBYTE)
    holder = asyncio.create_task(outcome(send(first, upload_id, 0, audio[:MEBIBYTE], wrong)))
    await asyncio.to_thread(stopped.wait, 30)
    began = loop.time()
    offset = (await look_up(second, upload_id)).offset
    assert offset == MEBIBYTE
    ended = await send(second, upload_id, offset, audio[offset:])
    taken = loop.time() - began
    go_on.set()
    assert await holder == "upload-locked"
    assert ended.clip_id == await only_clip(second, audio)
    assert taken < 10  # two or three seconds on a machine at rest
    (clip_id,) = [clip_id for clip_id, _ in await clips(second)]
    async with second.begin() as connection:
        clip = await get_clip(connection, clip_id)
    assert clip is not None
    assert clip.blob_key is not None
    assert await read_blob(second.blobs, clip.blob_key) == audio


async def test_what_comes_to_the_disk_while_another_takes_over_is_cut(open_rt: Open) -> None:
    """Of two at one offset one wins, also when the first has bytes in hand that its file does not show."""
    audio = wav(5)
    # Nothing is written out before it is stopped.
    async with open_rt(timings=Timings(writer_check=60.0)) as rt:
        upload_id = await created(rt, len(audio))
        holder = asyncio.create_task(outcome(send(rt, upload_id, 0, bytes(1000), 60.0)))
        await asyncio.sleep(0.1)
        assert (await send(rt, upload_id, 0, audio)).clip_id == await only_clip(rt, audio)
        assert await holder == "upload-locked"


async def test_whoever_asks_for_a_clip_that_a_stopped_process_was_making_gets_it(open_rt: Open) -> None:
    async with open_rt() as stopping, open_rt(timings=Timings(clip_wait=0.3)) as asking:
        audio = wav(1)
        upload_id = await created(stopping, len(audio))
        stopped, blobs = paused(stopping, "put", after=True)
        first = asyncio.create_task(send(stopped, upload_id, 0, audio))
        await blobs.reached.wait()
        state = await look_up(asking, upload_id)
        assert state.clip_id == await only_clip(asking, audio)
        blobs.go_on.set()
        assert (await first).clip_id == state.clip_id
        assert staged(asking) == []


async def test_no_process_is_told_two_stories(open_rt: Open) -> None:
    """Anything, in any order, from two processes that are now and then restarted: the model is a bytes."""
    rng = random.Random(5)
    audio = wav(3)
    async with AsyncExitStack() as stack:
        rts = [await stack.enter_async_context(open_rt()) for _ in range(2)]
        upload_id = await created(rts[0], None)
        have = 0
        for _ in range(60):
            rt = rng.choice(rts)
            piece = audio[have : have + rng.randrange(2500)]
            match rng.randrange(6):
                case 0:
                    with pytest.raises(OffsetMismatch):
                        await send(rt, upload_id, have + rng.choice([-1, 1, 1000]) if have else 1, piece)
                case 1:
                    with pytest.raises(ChecksumMismatch):
                        await send(rt, upload_id, have, piece, b"!", sha1=piece)
                case 2:
                    with pytest.raises(ClientDisconnected):
                        await send(rt, upload_id, have, piece, ClientDisconnected(), sha1=piece)
                case 3:
                    with pytest.raises(UploadInterrupted):
                        await send(rt, upload_id, have, piece[:100], piece[100:], UploadStalled())
                    have += len(piece)
                case 4:
                    await send(rt, upload_id, have, piece, sha1=piece)
                    have += len(piece)
                case 5:
                    await send(rt, upload_id, have, piece)
                    have += len(piece)
            assert (await look_up(rng.choice(rts), upload_id)).offset == have
        state = await send(rts[0], upload_id, have, audio[have:], length=len(audio))
        assert state.clip_id == await only_clip(rts[1], audio)


# Deaths between the last byte and the clip


Step = Callable[[pytest.MonkeyPatch], None]


def fails(module: Any, name: str, error: type[BaseException]) -> Step:
    def fail(patch: pytest.MonkeyPatch) -> None:
        async def dead(*_: Any, **__: Any) -> Any:
            raise error("died here")

        patch.setattr(module, name, dead)

    return fail


@pytest.mark.parametrize(
    "step",
    [fails(finish_module, "ingest", RuntimeError), fails(uploads, "settle", RuntimeError)],
    ids=["before the clip", "after the clip"],
)
@pytest.mark.parametrize("again", ["look", "append", "sweep"])
async def test_what_dies_at_the_end_is_finished_once(
    two: tuple[Runtime, Runtime], monkeypatch: pytest.MonkeyPatch, step: Step, again: str
) -> None:
    audio = wav()
    upload_id = await created(two[0], len(audio))
    with monkeypatch.context() as patch:
        step(patch)
        with pytest.raises(RuntimeError):
            await send(two[0], upload_id, 0, audio)
    before = await clips(two[1])
    if again == "look":
        await look_up(two[1], upload_id)
    elif again == "append":
        await append(two[1], upload_id, Append(len(audio), None, 0, None), chunks())
    else:
        assert await finish_whole(two[1]) == 1
        assert await finish_whole(two[1]) == 0
    clip_id = await only_clip(two[0], audio)
    assert before in ([], [(clip_id, hashlib.sha256(audio).hexdigest())])
    for rt in two:
        assert (await look_up(rt, upload_id)).clip_id == clip_id
    assert staged(two[0]) == []


async def test_many_look_at_one_that_is_whole(
    two: tuple[Runtime, Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = wav()
    upload_id = await created(two[0], len(audio))
    with monkeypatch.context() as patch:
        fails(finish_module, "ingest", RuntimeError)(patch)
        with pytest.raises(RuntimeError):
            await send(two[0], upload_id, 0, audio)
    states = await asyncio.gather(*(look_up(two[n % 2], upload_id) for n in range(6)))
    clip_id = await only_clip(two[0], audio)
    assert {state.clip_id for state in states} == {clip_id}


async def test_trouble_at_the_end_is_no_refusal(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    audio = wav()
    upload_id = await created(rt, len(audio))
    for error in (InsufficientStorage, Unavailable):
        with monkeypatch.context() as patch:
            fails(finish_module, "ingest", error)(patch)
            with pytest.raises(error):
                await send(rt, upload_id, *((0, audio) if error is InsufficientStorage else (len(audio),)))
            with pytest.raises(error):
                await look_up(rt, upload_id)
    assert (await look_up(rt, upload_id)).clip_id == await only_clip(rt, audio)


async def test_whole_although_the_client_left_at_the_end(rt: Runtime) -> None:
    audio = wav()
    upload_id = await created(rt, len(audio))
    state = await send(rt, upload_id, 0, audio, ClientDisconnected())
    assert state.clip_id == await only_clip(rt, audio)


async def test_a_look_waits_for_the_clip_in_the_making(two: tuple[Runtime, Runtime]) -> None:
    audio = wav()
    upload_id = await created(two[0], len(audio))
    slow, store = paused(two[0], "put", after=True)
    making = asyncio.create_task(send(slow, upload_id, 0, audio))
    await store.reached.wait()
    looking = asyncio.create_task(look_up(two[1], upload_id))
    asking = asyncio.create_task(append(two[0], upload_id, Append(len(audio), None, 0, None), chunks()))
    removing = asyncio.create_task(remove(two[1], upload_id))
    done, _ = await asyncio.wait((making, looking, asking, removing), timeout=1)
    assert not done
    store.go_on.set()
    clip_id = (await making).clip_id
    assert clip_id == await only_clip(two[0], audio)
    # Whether these two still found the upload before it was removed is a matter of luck.
    for waiting in (looking, asking):
        with suppress(UploadNotFound):
            assert (await waiting).clip_id == clip_id
    await removing
    with pytest.raises(UploadNotFound):
        await look_up(two[0], upload_id)
    assert staged(two[0]) == []


async def test_finishing_costs_the_same_for_any_size(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither read again nor copied: the blob is the very file that the bytes were written to."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("the file was read again")

    monkeypatch.setattr(hashlib, "file_digest", refuse)
    audio = wav(100)
    upload_id = await created(rt, len(audio))
    await send(rt, upload_id, 0, audio[:MEBIBYTE])
    (path,) = (rt.settings.media_root / ".staging").glob("*.upload")
    inode = path.stat().st_ino
    with pytest.raises(ClientDisconnected):
        await send(rt, upload_id, MEBIBYTE, audio[MEBIBYTE:-5], ClientDisconnected())
    await send(rt, upload_id, len(audio) - 5, audio[-5:])
    (blob,) = (path for path in rt.settings.media_root.glob("blobs/*/*"))
    assert blob.stat().st_ino == inode
    assert blob.stat().st_nlink == 1


async def test_where_there_are_no_hard_links(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    audio = wav()
    upload_id = await created(rt, len(audio))
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        state = await send(rt, upload_id, 0, audio)
    assert state.clip_id == await only_clip(rt, audio)
    assert staged(rt) == []


# Time


async def age(rt: Runtime, *upload_ids: UUID) -> None:
    """As if these had expired a moment ago."""
    async with rt.begin() as connection:
        await connection.execute(
            sa.text("UPDATE uploads SET expires_at = now() - interval '1 ms' WHERE id = ANY(:ids)"),
            {"ids": list(upload_ids)},
        )


async def test_expired_uploads_go_and_nothing_else(rt: Runtime) -> None:
    audio, other = wav(), wav(seed=1)
    expired, live, finished, refused = [
        await created(rt, length) for length in (1000, 1000, len(audio), len(other))
    ]
    await send(rt, expired, 0, b"x")
    await send(rt, live, 0, b"y")
    state = await send(rt, finished, 0, audio)
    with pytest.raises(UnsupportedMedia):
        await send(rt, refused, 0, bytes(len(other)))
    await age(rt, expired, finished, refused)
    with pytest.raises(UploadGone):
        await look_up(rt, expired)
    with pytest.raises(UploadGone):
        await send(rt, expired, 1, b"x")
    assert await remove_expired(rt, grace_seconds=60) == 2
    assert await remove_expired(rt, grace_seconds=60) == 0
    for upload_id in (expired, refused):
        with pytest.raises(UploadNotFound):
            await look_up(rt, upload_id)
    assert (await look_up(rt, live)).offset == 1
    assert (await look_up(rt, finished)).clip_id == state.clip_id
    assert staged(rt) == [f"{live}.upload"]


async def test_what_is_being_written_does_not_expire(open_rt: Open) -> None:
    async with open_rt(upload_expiry_seconds=0.6) as rt:
        upload_id = await created(rt, 1000)
        writing = asyncio.create_task(send(rt, upload_id, 0, b"x", 1.2, b"y"))
        for _ in range(10):
            await asyncio.sleep(0.1)
            assert await remove_expired(rt, grace_seconds=60) == 0
        assert (await writing).offset == 2


async def test_files_that_belong_to_no_upload_go(rt: Runtime) -> None:
    upload_id = await created(rt, 1000)
    await send(rt, upload_id, 0, b"x")
    area = rt.settings.media_root / ".staging"
    old = area / "0192-no-row.upload"
    old.write_bytes(b"left by a crash")
    young = area / "0193-no-row.upload"
    young.write_bytes(b"perhaps of one that is about to begin")
    held = area / "0194-no-row.upload"
    held.write_bytes(b"somebody has it open")
    for path in (old, held, area / f"{upload_id}.upload"):
        os.utime(path, (1, 1))
    with held.open("rb") as file:
        flock(file, LOCK_EX)
        await remove_expired(rt, grace_seconds=60)
    assert staged(rt) == sorted([f"{upload_id}.upload", young.name, held.name])


# The end by a client


@pytest.mark.parametrize("same", [True, False], ids=["same process", "other process"])
async def test_the_end_interrupts_who_writes(two: tuple[Runtime, Runtime], same: bool) -> None:
    upload_id = await created(two[0], 1000)
    writing = asyncio.create_task(append(two[0], upload_id, Append(0, None, 1000, None), silence(b"x")))
    await asyncio.sleep(0.1)
    await remove(two[0] if same else two[1], upload_id)
    with pytest.raises((UploadLocked, UploadNotFound)):
        await asyncio.wait_for(writing, 2)
    assert staged(two[0]) == []


async def test_a_creation_that_fails_leaves_no_row(rt: Runtime) -> None:
    creation = Creation(100, Metadata("", {}), with_upload=True, body_size=None, checksum=None)
    with pytest.raises(ClientDisconnected):
        await create(rt, creation, Hints(), chunks(b"x", ClientDisconnected()))
    async with rt.begin() as connection:
        assert await connection.scalar(sa.text("SELECT count(*) FROM uploads")) == 0
    assert staged(rt) == []


# Trouble with the database meanwhile


async def test_bytes_flow_on_while_the_database_is_away(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    audio = wav()
    upload_id = await created(rt, len(audio))

    async def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("away")

    monkeypatch.setattr(uploads, "writers", away)
    state = await send(rt, upload_id, 0, audio[:100], 0.5, audio[100:])
    assert state.clip_id == await only_clip(rt, audio)


async def test_no_connection_is_held_while_bytes_flow(open_rt: Open) -> None:
    async with open_rt(db_pool_size=1) as rt:
        upload_ids = [await created(rt, 1000) for _ in range(5)]
        taken = 0

        async def one_byte() -> AsyncIterator[bytes]:
            nonlocal taken
            yield b"x"
            taken += 1
            await asyncio.sleep(600)

        writing = [
            asyncio.create_task(append(rt, one, Append(0, None, 1000, None), one_byte()))
            for one in upload_ids
        ]
        async with asyncio.timeout(60):
            while taken < len(writing):
                await asyncio.sleep(0.01)
            assert await clips(rt) == []
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        # What a writer had when the service was stopped is kept, too.
        assert {(await look_up(rt, one)).offset for one in upload_ids} == {1}
