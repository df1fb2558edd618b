"""What every store promises (`mosic.blobs.base`), over every store."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from mosic.blobs.base import BlobStore, CopiesBlobs, OpenBlob, Span, at_once
from mosic.errors import BlobMissing
from tests.blobs.conftest import Stage, new_key
from tests.support.stores import keys_in

CONTENT = bytes(range(256)) * 700


async def read_all(blob: OpenBlob, size: int = 50_000) -> bytes:
    content = b""
    while piece := await blob.read(size):
        assert len(piece) <= size
        content += piece
    return content


async def content_of(blobs: BlobStore, blob_key: str, span: Span | None = None) -> bytes:
    async with blobs.open(blob_key, span) as blob:
        return await read_all(blob)


async def put(blobs: BlobStore, stage: Stage, content: bytes = CONTENT) -> str:
    blob_key = new_key()
    await blobs.put(blob_key, stage(content))
    return blob_key


async def is_missing(blobs: BlobStore, blob_key: str) -> bool:
    try:
        async with blobs.open(blob_key):
            return False
    except BlobMissing:
        return True


async def test_what_was_put_can_be_read_and_the_file_was_taken_over(blobs: BlobStore, stage: Stage) -> None:
    blob_key, path = new_key(), stage(CONTENT)
    await blobs.put(blob_key, path)
    assert not path.exists()
    stat = await blobs.stat(blob_key)
    assert stat is not None
    assert stat.size == len(CONTENT)
    async with blobs.open(blob_key) as blob:
        assert blob.size == len(CONTENT)
        assert await read_all(blob) == CONTENT
        assert await blob.read(100) == b""
    assert await keys_in(blobs) == {blob_key}


@pytest.mark.parametrize(("start", "stop"), [(0, 10), (4095, 4097), (100_000, 179_200), (0, 179_200), (5, 5)])
async def test_a_span_gives_its_bytes_and_no_others(
    blobs: BlobStore, stage: Stage, start: int, stop: int
) -> None:
    blob_key = await put(blobs, stage)
    async with blobs.open(blob_key, (start, stop)) as blob:
        assert blob.size == len(CONTENT)
        assert await read_all(blob, 4096) == CONTENT[start:stop]
        assert await blob.read(1) == b""


async def test_a_blob_that_ends_before_the_span_is_an_error_and_no_end(
    blobs: BlobStore, stage: Stage
) -> None:
    blob_key = await put(blobs, stage)
    async with blobs.open(blob_key, (len(CONTENT) - 10, len(CONTENT) + 1)) as blob:
        with pytest.raises(OSError, match="shorter"):
            await read_all(blob)


async def test_a_buffer_is_the_callers_own(blobs: BlobStore, stage: Stage) -> None:
    blob_key = await put(blobs, stage)
    async with blobs.open(blob_key, (0, 16)) as blob:
        first = await blob.read(16)
        if isinstance(first, bytearray):
            first[:] = bytes(16)
    assert await content_of(blobs, blob_key) == CONTENT


@pytest.mark.parametrize("blobs", ["local"], indirect=True)  # of the stores, which need not have this
async def test_what_is_read_at_once_is_the_whole_span_or_nothing(blobs: BlobStore, stage: Stage) -> None:
    store = at_once(blobs)
    assert store is not None
    blob_key = await put(blobs, stage)
    await content_of(blobs, blob_key)
    size = len(CONTENT)
    for span in ((0, 10), (4095, 4097), (0, size)):
        piece = store.read_now(blob_key, span, size)
        assert piece is None or bytes(piece) == CONTENT[span[0] : span[1]]
        if piece is not None:
            piece[:] = bytes(len(piece))
    assert await content_of(blobs, blob_key) == CONTENT
    # Neither of another size, nor more than there is.
    assert store.read_now(blob_key, (0, 10), size - 1) is None
    assert store.read_now(blob_key, (size - 5, size + 5), size) is None
    assert store.read_now(new_key(), (0, 10), size) is None
    await blobs.delete(blob_key)
    assert store.read_now(blob_key, (0, 10), size) is None


async def test_a_taken_key_is_refused_and_its_blob_left_alone(blobs: BlobStore, stage: Stage) -> None:
    blob_key = await put(blobs, stage)
    with pytest.raises(FileExistsError):
        await blobs.put(blob_key, stage(b"other"))
    assert await content_of(blobs, blob_key) == CONTENT


async def test_deleted_is_gone_for_all_but_those_who_read_it(blobs: BlobStore, stage: Stage) -> None:
    blob_key = await put(blobs, stage)
    async with blobs.open(blob_key) as blob:
        assert await blobs.delete(blob_key) is True
        assert await is_missing(blobs, blob_key)
        assert await blobs.stat(blob_key) is None
        assert await blobs.delete(blob_key) is False
        assert await keys_in(blobs) == set()
        assert await read_all(blob) == CONTENT


async def test_a_blob_that_was_lost_can_come_back_under_its_key(blobs: BlobStore, stage: Stage) -> None:
    blob_key = await put(blobs, stage, b"first")
    assert await content_of(blobs, blob_key) == b"first"
    await blobs.delete(blob_key)
    await blobs.put(blob_key, stage(b"again"))
    assert await content_of(blobs, blob_key) == b"again"


async def test_a_copy_lives_and_goes_by_itself(blobs: BlobStore, stage: Stage) -> None:
    assert isinstance(blobs, CopiesBlobs)
    blob_key, other, third = await put(blobs, stage), new_key(), new_key()
    async with blobs.open(blob_key) as reader:
        await blobs.copy(blob_key, other)
        assert await keys_in(blobs) == {blob_key, other}
        with pytest.raises(FileExistsError):
            await blobs.copy(blob_key, other)
        assert await blobs.delete(blob_key) is True
        assert await is_missing(blobs, blob_key)
        with pytest.raises(BlobMissing):
            await blobs.copy(blob_key, third)
        assert await keys_in(blobs) == {other}
        assert await content_of(blobs, other) == await read_all(reader) == CONTENT


async def test_a_missing_blob_says_so(blobs: BlobStore) -> None:
    assert await is_missing(blobs, new_key())
    assert await blobs.stat(new_key()) is None


@pytest.mark.parametrize("wrong", ["", "../../etc/passwd", "0" * 31, "A" * 32, f"{'0' * 32}\n"])
async def test_what_is_no_key_reaches_no_file(blobs: BlobStore, stage: Stage, wrong: str) -> None:
    with pytest.raises(ValueError, match="not a blob key"):
        await content_of(blobs, wrong)
    with pytest.raises(ValueError, match="not a blob key"):
        await blobs.put(wrong, stage(b"x"))


async def test_readers_do_not_disturb_each_other(blobs: BlobStore, stage: Stage) -> None:
    blob_key = await put(blobs, stage)

    async def read_backwards() -> bytes:
        starts = range(0, len(CONTENT), 10_000)
        async with AsyncExitStack() as stack:
            spans = [(start, min(start + 10_000, len(CONTENT))) for start in starts]
            opened = [await stack.enter_async_context(blobs.open(blob_key, span)) for span in spans]
            read = [await read_all(blob, 3000) for blob in reversed(opened)]
            return b"".join(reversed(read))

    assert set(await asyncio.gather(*(read_backwards() for _ in range(20)))) == {CONTENT}
