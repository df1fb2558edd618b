"""Files kept open between readers: few, of blobs that are there, and none for longer than needed."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mosic.blobs import descriptors, openfiles
from mosic.blobs.descriptors import DescriptorCache, SharedFile
from mosic.blobs.local import LocalBlobs
from mosic.errors import BlobMissing, Unavailable
from tests.blobs.conftest import Stage, new_key
from tests.support.service import open_files

PAGES = 64 * 4096


async def until_open(below: Path, count: int) -> None:
    """Descriptors are closed in a thread."""
    deadline = time.monotonic() + 10
    while len(open_files(below)) != count:
        assert time.monotonic() < deadline, open_files(below)
        await asyncio.sleep(0.01)


@pytest.fixture
async def few(tmp_path: Path) -> AsyncIterator[LocalBlobs]:
    async with LocalBlobs(tmp_path / "media", most_kept_open=3) as blobs:
        yield blobs


async def content_of(blobs: LocalBlobs, blob_key: str) -> bytes:
    async with blobs.open(blob_key) as blob:
        return bytes(await blob.read(PAGES))


async def opens_no_file(blobs: LocalBlobs, blob_key: str, below: Path) -> bool:
    """Whether the blob is read through a descriptor that is open already."""
    before = open_files(below)
    async with blobs.open(blob_key):
        return open_files(below) == before


async def put_some(blobs: LocalBlobs, stage: Stage, count: int) -> list[str]:
    blob_keys = [new_key() for _ in range(count)]
    for blob_key in blob_keys:
        await blobs.put(blob_key, stage(blob_key.encode()))
    return blob_keys


async def test_no_more_than_allowed_stay_open(few: LocalBlobs, stage: Stage, tmp_path: Path) -> None:
    blob_keys = await put_some(few, stage, 10)
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(few.open(blob_key)) for blob_key in blob_keys]
        assert len(open_files(tmp_path)) == 10
        for blob_key, blob in zip(blob_keys, opened, strict=True):
            assert await blob.read(100) == blob_key.encode()
    await until_open(tmp_path, 3)
    # Those that were read last.
    for blob_key in blob_keys[-3:]:
        assert await opens_no_file(few, blob_key, tmp_path)
    assert not await opens_no_file(few, blob_keys[0], tmp_path)


async def test_readers_of_one_blob_share_a_descriptor(few: LocalBlobs, stage: Stage, tmp_path: Path) -> None:
    (blob_key,) = await put_some(few, stage, 1)
    async with AsyncExitStack() as stack:
        # Also those who open it at the same time.
        await asyncio.gather(*(stack.enter_async_context(few.open(blob_key)) for _ in range(50)))
        await until_open(tmp_path, 1)
    assert len(open_files(tmp_path)) == 1
    await few.__aexit__()
    await until_open(tmp_path, 0)


async def test_a_deleted_blob_is_closed_with_its_last_reader(
    local: LocalBlobs, stage: Stage, tmp_path: Path
) -> None:
    one, other = await put_some(local, stage, 2)
    async with local.open(one) as reader:
        await content_of(local, other)
        await local.delete(one)
        await local.delete(other)
        await until_open(tmp_path, 1)
        assert await reader.read(100) == one.encode()
    await until_open(tmp_path, 0)


async def test_what_another_process_deleted_is_not_opened_again(
    local: LocalBlobs, stage: Stage, tmp_path: Path
) -> None:
    """Without any word from there: it is the file itself that tells."""
    (blob_key,) = await put_some(local, stage, 1)
    await content_of(local, blob_key)
    async with LocalBlobs(tmp_path / "media") as elsewhere:
        await elsewhere.delete(blob_key)
    with pytest.raises(BlobMissing):
        await content_of(local, blob_key)
    await until_open(tmp_path, 0)


async def test_what_another_process_deleted_is_closed_although_nobody_asks_for_it(
    local: LocalBlobs, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would fill the disk for as long as this process lives."""
    monkeypatch.setattr(descriptors, "_CHECK_SECONDS", 0.01)
    monkeypatch.setattr(descriptors, "_CHECKED_AT_ONCE", 2)
    blob_keys = await put_some(local, stage, 7)
    for blob_key in blob_keys:
        await content_of(local, blob_key)
    assert len(open_files(tmp_path)) == 7
    async with LocalBlobs(tmp_path / "media") as elsewhere:
        for blob_key in blob_keys[:5]:
            await elsewhere.delete(blob_key)
    await until_open(tmp_path, 2)
    for blob_key in blob_keys[5:]:
        assert await opens_no_file(local, blob_key, tmp_path)


async def test_a_backups_link_does_not_keep_a_deleted_blob(
    local: LocalBlobs, stage: Stage, tmp_path: Path
) -> None:
    """`cp -l`, rsnapshot: the file lives on under a name that is not the store's."""
    (blob_key,) = await put_some(local, stage, 1)
    (path,) = (tmp_path / "media").glob("blobs/*/*")
    await content_of(local, blob_key)
    os.link(path, tmp_path / "backup")
    path.unlink()
    with pytest.raises(BlobMissing):
        await content_of(local, blob_key)


async def test_a_file_removed_while_it_was_opened_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"x")
    closed: list[int] = []
    file = SharedFile(str(tmp_path / "blob"), closed.append)
    (tmp_path / "blob").unlink()
    cache = DescriptorCache(10)
    assert cache.add("blob", file) is file
    assert os.pread(file.descriptor, 10, 0) == b"x"
    file.remove_reader()
    assert closed == [file.descriptor]
    os.close(file.descriptor)
    assert cache.get("blob") is None


async def test_a_reader_that_gives_up_while_the_file_is_opened_leaves_nothing(
    few: LocalBlobs, stage: Stage, tmp_path: Path
) -> None:
    blob_keys = await put_some(few, stage, 20)
    opening = [asyncio.create_task(content_of(few, blob_key)) for blob_key in blob_keys]
    await asyncio.sleep(0)
    for task in opening:
        task.cancel()
    await asyncio.gather(*opening, return_exceptions=True)
    for blob_key in blob_keys:
        await few.delete(blob_key)
    await until_open(tmp_path, 0)


async def test_too_many_open_files_is_a_refusal_that_passes(
    local: LocalBlobs, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (blob_key,) = await put_some(local, stage, 1)

    def full(*_: object) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        with pytest.raises(Unavailable):
            await content_of(local, blob_key)
    assert await content_of(local, blob_key) == blob_key.encode()


def put_out_of_the_cache(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


async def test_a_cold_file_is_not_read_on_the_loop(
    local: LocalBlobs, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(PAGES)
    blob_key = new_key()
    await local.put(blob_key, stage(content))
    (path,) = (tmp_path / "media").glob("blobs/*/*")
    with path.open("rb") as file:
        if openfiles._read_cached(file.fileno(), 0, PAGES) is None:
            pytest.skip("this file system cannot tell what is in the page cache")
        put_out_of_the_cache(path)
        if openfiles._read_cached(file.fileno(), 0, PAGES) is not None:
            pytest.skip("the page cache cannot be emptied here")
    put_out_of_the_cache(path)
    in_threads: list[int] = []
    pread = os.pread

    def counted(descriptor: int, size: int, start: int) -> bytes:
        in_threads.append(threading.get_ident())
        return pread(descriptor, size, start)

    monkeypatch.setattr(os, "pread", counted)
    async with local.open(blob_key) as blob:
        assert await blob.read(PAGES) == content
    assert in_threads
    assert threading.get_ident() not in in_threads
    # Now it is there.
    in_threads.clear()
    assert await content_of(local, blob_key) == content
    assert not in_threads


async def test_the_loop_goes_on_while_the_disk_is_slow(
    local: LocalBlobs, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (blob_key,) = await put_some(local, stage, 1)
    pread = os.pread

    def slow(descriptor: int, size: int, start: int) -> bytes:
        time.sleep(0.5)
        return pread(descriptor, size, start)

    monkeypatch.setattr(openfiles, "_RWF_NOWAIT", None)
    monkeypatch.setattr(os, "pread", slow)
    reading = [asyncio.create_task(content_of(local, blob_key)) for _ in range(4)]
    turns = 0
    while not all(task.done() for task in reading):
        await asyncio.sleep(0.005)
        turns += 1
    # At most 3 if the loop had stood still in each of them.
    assert turns > 10
    assert {task.result() for task in reading} == {blob_key.encode()}


async def test_a_read_that_is_given_up_keeps_the_file_until_its_thread_is_done(
    local: LocalBlobs, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the number of the descriptor could belong to another file by then."""
    (blob_key,) = await put_some(local, stage, 1)
    began, go_on = threading.Event(), threading.Event()
    seen: list[bytes] = []
    pread = os.pread

    def slow(descriptor: int, size: int, start: int) -> bytes:
        began.set()
        go_on.wait()
        seen.append(pread(descriptor, size, start))
        return seen[-1]

    monkeypatch.setattr(openfiles, "_RWF_NOWAIT", None)
    monkeypatch.setattr(os, "pread", slow)
    reading = asyncio.create_task(content_of(local, blob_key))
    await asyncio.to_thread(began.wait)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await local.delete(blob_key)
    assert len(open_files(tmp_path)) == 1
    go_on.set()
    await until_open(tmp_path, 0)
    assert seen == [blob_key.encode()]
