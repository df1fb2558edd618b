"""What every store promises (`mosic.blobs.base`), over every store."""

from __future__ import annotations

import asyncio

import pytest

from mosic.blobs.base import BlobStore, OpenBlob
from mosic.errors import BlobMissing
from tests.blobs.conftest import Stage, new_key
from tests.support.stores import keys_in

CONTENT = bytes(range(256)) * 700


async def read_all(blob: OpenBlob) -> bytes:
    content = b""
    while piece := await blob.read(len(content), 50_000):
        content += piece
    return content


async def put(blobs: BlobStore, stage: Stage, content: bytes = CONTENT) -> str:
    blob_key = new_key()
    await blobs.put(blob_key, stage(content))
    return blob_key


async def test_what_was_put_can_be_read_and_the_file_was_taken_over(blobs: BlobStore, stage: Stage) -> None:
    blob_key, path = new_key(), stage(CONTENT)
    await blobs.put(blob_key, path)
    assert not path.exists()
    stat = await blobs.stat(blob_key)
    assert stat is not None
    assert stat.size == len(CONTENT)
    blob = await blobs.open(blob_key)
    assert blob.size == len(CONTENT)
    assert await read_all(blob) == CONTENT
    assert await blob.read(100, 7) == CONTENT[100:107]
    assert await blob.read(len(CONTENT) - 3, 100) == CONTENT[-3:]
    assert await blob.read(len(CONTENT), 100) == b""
    blob.close()
    blob.close()
    assert await keys_in(blobs) == {blob_key}


async def test_reading_without_waiting_gives_the_same_bytes_or_none(blobs: BlobStore, stage: Stage) -> None:
    blob = await blobs.open(await put(blobs, stage))
    for start, size in ((0, 10), (0, len(CONTENT)), (4095, 2), (len(CONTENT) - 1, 10)):
        piece = blob.read_now(start, size)
        assert piece is None or bytes(piece) == CONTENT[start : start + size][: len(piece)]
        assert piece is None or piece
    blob.close()


async def test_a_buffer_is_the_callers_own(blobs: BlobStore, stage: Stage) -> None:
    blob = await blobs.open(await put(blobs, stage))
    first = blob.read_now(0, 16)
    if first is not None:
        first[:] = bytes(16)
    assert await blob.read(0, 16) == CONTENT[:16]
    blob.close()


async def test_a_taken_key_is_refused_and_its_blob_left_alone(blobs: BlobStore, stage: Stage) -> None:
    blob_key = await put(blobs, stage)
    with pytest.raises(FileExistsError):
        await blobs.put(blob_key, stage(b"other"))
    blob = await blobs.open(blob_key)
    assert await read_all(blob) == CONTENT
    blob.close()


async def test_deleted_is_gone_for_all_but_those_who_read_it(blobs: BlobStore, stage: Stage) -> None:
    blob_key = await put(blobs, stage)
    blob = await blobs.open(blob_key)
    assert await blobs.delete(blob_key) is True
    assert blobs.open_now(blob_key) is None
    with pytest.raises(BlobMissing):
        await blobs.open(blob_key)
    assert await blobs.stat(blob_key) is None
    assert await blobs.delete(blob_key) is False
    assert await keys_in(blobs) == set()
    assert await read_all(blob) == CONTENT
    blob.close()


async def test_a_duplicate_lives_and_goes_by_itself(blobs: BlobStore, stage: Stage) -> None:
    blob_key, other, third = await put(blobs, stage), new_key(), new_key()
    reader = await blobs.open(blob_key)
    await blobs.duplicate(blob_key, other)
    assert await keys_in(blobs) == {blob_key, other}
    with pytest.raises(FileExistsError):
        await blobs.duplicate(blob_key, other)
    assert await blobs.delete(blob_key) is True
    assert blobs.open_now(blob_key) is None
    with pytest.raises(BlobMissing):
        await blobs.open(blob_key)
    with pytest.raises(BlobMissing):
        await blobs.duplicate(blob_key, third)
    assert await keys_in(blobs) == {other}
    again = await blobs.open(other)
    assert await read_all(again) == await read_all(reader) == CONTENT
    reader.close()
    again.close()


async def test_forgetting_loses_nothing(blobs: BlobStore, stage: Stage) -> None:
    blob_key = await put(blobs, stage)
    reader = await blobs.open(blob_key)
    blobs.forget(blob_key)
    blobs.forget(new_key())
    blobs.forget_all()
    again = await blobs.open(blob_key)
    assert await read_all(again) == await read_all(reader) == CONTENT
    again.close()
    reader.close()


async def test_a_missing_blob_says_so(blobs: BlobStore) -> None:
    assert blobs.open_now(new_key()) is None
    assert await blobs.stat(new_key()) is None
    with pytest.raises(BlobMissing):
        await blobs.open(new_key())


@pytest.mark.parametrize("wrong", ["", "../../etc/passwd", "0" * 31, "A" * 32, f"{'0' * 32}\n"])
async def test_what_is_no_key_reaches_no_file(blobs: BlobStore, stage: Stage, wrong: str) -> None:
    with pytest.raises(ValueError, match="not a blob key"):
        await blobs.open(wrong)
    with pytest.raises(ValueError, match="not a blob key"):
        await blobs.put(wrong, stage(b"x"))


async def test_readers_do_not_disturb_each_other(blobs: BlobStore, stage: Stage) -> None:
    blob_key = await put(blobs, stage)

    async def read_backwards() -> bytes:
        blob = await blobs.open(blob_key)
        content = b""
        for start in reversed(range(0, len(CONTENT), 10_000)):
            content = bytes(await blob.read(start, min(10_000, len(CONTENT) - start))) + content
        blob.close()
        return content

    assert set(await asyncio.gather(*(read_backwards() for _ in range(20)))) == {CONTENT}
