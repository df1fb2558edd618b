"""Files kept open between readers: few, of blobs that are there, and none for longer than needed."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from mosic.blobs.kept import KeptFiles, SharedFile
from mosic.blobs.local import LocalBlob, LocalBlobs
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
async def few(tmp_path: Path) -> LocalBlobs:
    blobs = LocalBlobs(tmp_path / "media", most_kept_open=3)
    await blobs.start()
    return blobs


async def put_some(blobs: LocalBlobs, stage: Stage, count: int) -> list[str]:
    blob_keys = [new_key() for _ in range(count)]
    for blob_key in blob_keys:
        await blobs.put(blob_key, stage(blob_key.encode()))
    return blob_keys


async def test_no_more_than_allowed_stay_open(few: LocalBlobs, stage: Stage, tmp_path: Path) -> None:
    blob_keys = await put_some(few, stage, 10)
    opened = [await few.open(blob_key) for blob_key in blob_keys]
    assert len(open_files(tmp_path)) == 10
    for blob_key, blob in zip(blob_keys, opened, strict=True):
        assert await blob.read(0, 100) == blob_key.encode()
        blob.close()
    await until_open(tmp_path, 3)
    # Those that were read last.
    assert [few.open_now(blob_key) is not None for blob_key in blob_keys] == [False] * 7 + [True] * 3
    await few.close()


async def test_readers_of_one_blob_share_a_descriptor(few: LocalBlobs, stage: Stage, tmp_path: Path) -> None:
    (blob_key,) = await put_some(few, stage, 1)
    # Also those who open it at the same time.
    readers = await asyncio.gather(*(few.open(blob_key) for _ in range(50)))
    await until_open(tmp_path, 1)
    for reader in readers:
        reader.close()
    assert len(open_files(tmp_path)) == 1
    await few.close()
    await until_open(tmp_path, 0)


async def test_a_deleted_blob_is_closed_with_its_last_reader(
    local: LocalBlobs, stage: Stage, tmp_path: Path
) -> None:
    one, other = await put_some(local, stage, 2)
    reader = await local.open(one)
    (await local.open(other)).close()
    await local.delete(one)
    await local.delete(other)
    await until_open(tmp_path, 1)
    assert await reader.read(0, 100) == one.encode()
    reader.close()
    await until_open(tmp_path, 0)


async def test_what_another_process_deleted_is_not_opened_again(
    local: LocalBlobs, stage: Stage, tmp_path: Path
) -> None:
    """Without any word from there: it is the file itself that tells."""
    (blob_key,) = await put_some(local, stage, 1)
    (await local.open(blob_key)).close()
    elsewhere = LocalBlobs(tmp_path / "media")
    await elsewhere.delete(blob_key)
    await elsewhere.close()
    assert local.open_now(blob_key) is None
    await until_open(tmp_path, 0)
    with pytest.raises(BlobMissing):
        await local.open(blob_key)


async def test_a_backups_link_does_not_keep_a_deleted_blob(
    local: LocalBlobs, stage: Stage, tmp_path: Path
) -> None:
    """`cp -l`, rsnapshot: the file lives on under a name that is not the store's."""
    (blob_key,) = await put_some(local, stage, 1)
    (path,) = (tmp_path / "media").glob("blobs/*/*")
    (await local.open(blob_key)).close()
    os.link(path, tmp_path / "backup")
    path.unlink()
    assert local.open_now(blob_key) is None
    with pytest.raises(BlobMissing):
        await local.open(blob_key)


def test_a_file_removed_while_it_was_opened_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"x")
    closed: list[int] = []
    file = SharedFile(str(tmp_path / "blob"), closed.append)
    (tmp_path / "blob").unlink()
    kept = KeptFiles(10)
    assert kept.add("blob", file) is file
    assert os.pread(file.descriptor, 10, 0) == b"x"
    file.release()
    assert closed == [file.descriptor]
    os.close(file.descriptor)
    assert kept.lend("blob") is None


async def test_a_reader_that_gives_up_while_the_file_is_opened_leaves_nothing(
    local: LocalBlobs, stage: Stage, tmp_path: Path
) -> None:
    blob_keys = await put_some(local, stage, 20)
    opening = [asyncio.create_task(local.open(blob_key)) for blob_key in blob_keys]
    await asyncio.sleep(0)
    for task in opening:
        task.cancel()
    done = await asyncio.gather(*opening, return_exceptions=True)
    for blob in done:
        if isinstance(blob, LocalBlob):
            blob.close()
    local.forget_all()
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
            await local.open(blob_key)
    (await local.open(blob_key)).close()


def put_out_of_the_cache(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


async def test_a_cold_file_is_not_read_on_the_loop(local: LocalBlobs, stage: Stage, tmp_path: Path) -> None:
    content = os.urandom(PAGES)
    blob_key = new_key()
    await local.put(blob_key, stage(content))
    blob = await local.open(blob_key)
    if blob.read_now(0, PAGES) is None:
        pytest.skip("this file system cannot tell what is in the page cache")
    (path,) = (tmp_path / "media").glob("blobs/*/*")
    put_out_of_the_cache(path)
    if blob.read_now(0, PAGES) is not None:
        pytest.skip("the page cache cannot be emptied here")
    assert blob.read_now(PAGES - 100, 100) is None
    assert await blob.read(0, PAGES) == content
    # Now it is there.
    assert bytes(blob.read_now(0, PAGES) or b"") == content
    blob.close()


async def test_the_loop_goes_on_while_the_disk_is_slow(
    local: LocalBlobs, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (blob_key,) = await put_some(local, stage, 1)
    blob = await local.open(blob_key)
    pread = os.pread

    def slow(descriptor: int, size: int, start: int) -> bytes:
        time.sleep(0.5)
        return pread(descriptor, size, start)

    monkeypatch.setattr(os, "pread", slow)
    reading = [asyncio.create_task(blob.read(0, 100)) for _ in range(4)]
    turns = 0
    while not all(task.done() for task in reading):
        await asyncio.sleep(0.005)
        turns += 1
    # At most 3 if the loop had stood still in each of them.
    assert turns > 10
    assert {task.result() for task in reading} == {blob_key.encode()}
    blob.close()


async def test_a_read_that_is_given_up_keeps_the_file_until_its_thread_is_done(
    local: LocalBlobs, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the number of the descriptor could belong to another file by then."""
    (blob_key,) = await put_some(local, stage, 1)
    blob = await local.open(blob_key)
    seen: list[bytes] = []
    pread = os.pread

    def slow(descriptor: int, size: int, start: int) -> bytes:
        time.sleep(0.3)
        seen.append(pread(descriptor, size, start))
        return seen[-1]

    monkeypatch.setattr(os, "pread", slow)
    reading = asyncio.create_task(blob.read(0, 100))
    await asyncio.sleep(0.05)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    blob.close()
    await local.delete(blob_key)
    assert len(open_files(tmp_path)) == 1
    await until_open(tmp_path, 0)
    assert seen == [blob_key.encode()]
