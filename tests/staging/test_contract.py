"""What every upload area promises (`mosic.staging.base`), over every area."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mosic.errors import (
    ChecksumMismatch,
    InsufficientStorage,
    OffsetMismatch,
    TooLarge,
    UploadLocked,
    UploadNotFound,
)
from mosic.staging import Incoming, LocalUploadArea, Position, UploadArea
from mosic.wire.tus import Checksum
from tests.support.areas import MemoryArea

MEBIBYTE = 1024 * 1024
ANY = Incoming(limit=2**40)


@pytest.fixture(params=["local", "memory"])
async def area(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[UploadArea]:
    folder = tmp_path / "area"
    folder.mkdir()
    made: UploadArea = LocalUploadArea(folder) if request.param == "local" else MemoryArea(folder)
    yield made
    await made.close()
    # Files that are shown are gone again, and so is whatever `create` has received.
    assert {path.suffix for path in folder.iterdir()} <= {".upload"}


def sha1_of(content: bytes) -> Incoming:
    digest = hashlib.sha1(content, usedforsecurity=False).digest()
    return Incoming(limit=2**40, checksum=Checksum("sha1", digest))


async def append(
    area: UploadArea,
    offset: int,
    *chunks: bytes,
    name: str = "u",
    incoming: Incoming = ANY,
    error: Exception | None = None,
) -> None:
    """One request to the upload, which may end in an error."""
    async with area.append(Position(name, offset), incoming) as writer:
        for chunk in chunks:
            await writer.write(chunk)
        if error is not None:
            raise error


async def content_of(area: UploadArea, name: str = "u") -> bytes:
    """Of an upload that is whole."""
    async with area.finish(name) as staged:
        content = staged.path.read_bytes()
        assert (staged.size, staged.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        return content


class Holder:
    """A request that has sent its chunks to «u» and then falls silent."""

    def __init__(self, area: UploadArea, *chunks: bytes, incoming: Incoming = ANY) -> None:
        self.silent = asyncio.Event()
        self.task = asyncio.create_task(self._hold(area, chunks, incoming))

    async def _hold(self, area: UploadArea, chunks: tuple[bytes, ...], incoming: Incoming) -> None:
        async with area.append(Position("u", 0), incoming) as writer:
            for chunk in chunks:
                await writer.write(chunk)
            self.silent.set()
            await asyncio.sleep(600)


# In one request


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 8000], ids=["empty", "short", "long"])
async def test_one_request_gives_a_file(area: UploadArea, content: bytes) -> None:
    async with area.create(Incoming(limit=len(content), declared_size=len(content))) as writer:
        for at in range(0, len(content), 65_536):
            await writer.write(content[at : at + 65_536])
            writer.flush()
        assert writer.size == len(content)
        staged = await writer.finish()
        assert (staged.size, staged.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert staged.path.read_bytes() == content
    assert not staged.path.exists()


async def test_a_file_that_was_published_stays(area: UploadArea, tmp_path: Path) -> None:
    async with area.create(ANY) as writer:
        await writer.write(b"audio")
        (await writer.finish()).path.rename(tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == b"audio"


async def test_too_much_is_refused(area: UploadArea) -> None:
    async with area.create(Incoming(limit=10, declared_size=10)) as writer:
        await writer.write(b"12345")
        with pytest.raises(TooLarge):
            await writer.write(b"678901")
        assert writer.size == 5
        await writer.write(b"67890")
        assert (await writer.finish()).size == 10
    with pytest.raises(TooLarge):
        async with area.create(Incoming(limit=10, declared_size=11)):
            pytest.fail("was let in")
    for declared in (area.create, lambda incoming: area.append(Position("u", 0), incoming)):
        with pytest.raises(InsufficientStorage):
            async with declared(Incoming(limit=2**62, declared_size=2**60)):
                pytest.fail("was let in")
    with pytest.raises(InsufficientStorage):
        await area.admit(2**60)
    await area.admit(0)
    await area.check()
    assert await area.free_bytes() < 2**60


async def test_the_checksum_of_one_request(area: UploadArea) -> None:
    async with area.create(sha1_of(b"audio")) as writer:
        await writer.write(b"audio")
        assert (await writer.finish()).size == 5
    async with area.create(sha1_of(b"audio")) as writer:
        await writer.write(b"other")
        with pytest.raises(ChecksumMismatch):
            await writer.finish()


# Resumed


async def test_pieces_make_a_whole(area: UploadArea) -> None:
    content, offset = bytes(range(256)) * 5000, 0
    for size in (0, 1, 1000, 2**20, 5, len(content)):
        assert await area.size("u") == offset
        piece = content[offset : offset + size]
        async with area.append(Position("u", offset), ANY) as writer:
            assert writer.size == offset
            await writer.write(piece)
            offset += len(piece)
            assert await writer.sync() == offset
            writer.acknowledge()
        assert await area.confirm("u") == offset
    assert await content_of(area) == content
    assert await content_of(area) == content


async def test_the_block_may_take_the_finished_file_and_the_upload_stays(
    area: UploadArea, tmp_path: Path
) -> None:
    await append(area, 0, b"audio")
    async with area.finish("u") as staged:
        staged.path.rename(tmp_path / "blob")
    assert await area.size("u") == 5
    await area.discard("u")
    assert (tmp_path / "blob").read_bytes() == b"audio"
    with pytest.raises(FileNotFoundError):
        async with area.finish("u"):
            pytest.fail("was let in")


async def test_a_writer_may_still_hold_what_is_finished(area: UploadArea) -> None:
    async with area.append(Position("u", 0), ANY) as writer:
        await writer.write(b"audio")
        assert await content_of(area) == b"audio"
    assert await content_of(area) == b"audio"


@pytest.mark.parametrize("offset", [0, 3, 5, 2**62])
async def test_a_wrong_offset_changes_nothing(area: UploadArea, offset: int) -> None:
    await append(area, 0, b"four")
    with pytest.raises(OffsetMismatch) as refusal:
        await append(area, offset, b"more")
    assert refusal.value.extra == {"offset": 4}
    assert await content_of(area) == b"four"


async def test_what_is_not_there_has_no_bytes(area: UploadArea) -> None:
    with pytest.raises(OffsetMismatch) as refusal:
        await append(area, 4, b"more")
    assert refusal.value.extra == {"offset": 0}
    assert await area.size("u") == await area.confirm("u") == 0
    assert await area.idle(0) == []
    assert not await area.is_held("u")
    await area.interrupt("u")
    await area.discard("u")


@pytest.mark.parametrize("name", ["", ".", "..", "../u", "a/b", "/etc/passwd", "a.b", "ü", "a" * 65, "a\0"])
async def test_a_name_is_not_a_path(area: UploadArea, name: str) -> None:
    with pytest.raises(UploadNotFound):
        await append(area, 0, name=name)
    with pytest.raises(UploadNotFound):
        await area.size(name)
    with pytest.raises(UploadNotFound):
        await area.copy("u", 0, name)
    with pytest.raises(UploadNotFound):
        await area.discard(name)


async def test_what_is_behind_the_offset_can_be_cut(area: UploadArea) -> None:
    await append(area, 0, b"old,new!")
    async with area.append(Position("u", 4, cut=True), ANY) as writer:
        assert writer.size == 4
        await writer.write(b"end")
    assert await content_of(area) == b"old,end"
    with pytest.raises(OffsetMismatch):
        async with area.append(Position("u", 8, cut=True), ANY):
            pytest.fail("was let in")


async def test_what_came_before_the_limit_or_the_break_is_kept(area: UploadArea) -> None:
    ten = Incoming(limit=10)
    with pytest.raises(TooLarge):
        await append(area, 0, b"12345", b"678901", incoming=ten)
    assert await area.size("u") == 5
    with pytest.raises(ConnectionError):
        await append(area, 5, b"678", incoming=ten, error=ConnectionError())
    assert await area.size("u") == 8
    await append(area, 8, b"90", incoming=ten)
    assert await content_of(area) == b"1234567890"


async def test_a_piece_with_a_checksum_is_kept_whole_or_not_at_all(area: UploadArea) -> None:
    await append(area, 0, b"one,", incoming=sha1_of(b"one,"))
    for refused, error in ((b"other", None), (b"two,", ConnectionError()), (bytes(2 * MEBIBYTE), None)):
        with pytest.raises((ChecksumMismatch, ConnectionError)):
            await append(area, 4, refused, incoming=sha1_of(b"two,"), error=error)
        assert await area.size("u") == 4
    async with area.append(Position("u", 4), sha1_of(b"two,")) as writer:
        await writer.write(b"two,")
        assert await writer.sync() == 8
    with pytest.raises(ChecksumMismatch):
        await append(area, 8, incoming=sha1_of(b"something"))
    await append(area, 8, b"three")
    assert await content_of(area) == b"one,two,three"


async def test_what_was_finished_is_not_taken_back(area: UploadArea) -> None:
    """It may be published by then, whatever else fails."""
    with pytest.raises(ConnectionError):  # noqa: PT012
        async with area.append(Position("u", 0), sha1_of(b"audio")) as writer:
            await writer.write(b"audio")
            await writer.finish()
            raise ConnectionError
    assert await area.size("u") == 5


# Several


async def test_only_one_writes(area: UploadArea) -> None:
    async with area.append(Position("u", 0), ANY) as writer:
        await writer.write(b"mine")
        assert await area.is_held("u")
        assert area.is_held_here("u")
        assert await area.idle(0) == []
        with pytest.raises(UploadLocked):
            await append(area, 0, b"theirs")
        await append(area, 0, b"free", name="v")
    assert not await area.is_held("u")
    assert not area.is_held_here("u")
    assert sorted(await area.idle(0)) == ["u", "v"]
    assert await area.idle(60) == []
    assert await area.sweep(0) == 0
    assert await content_of(area) == b"mine"


async def test_of_many_at_one_offset_one_wins(area: UploadArea) -> None:
    async def send(content: bytes) -> bytes | None:
        try:
            await append(area, 0, content)
        except (UploadLocked, OffsetMismatch):
            return None
        return content

    contents = [b"%d" % number * 9 for number in range(5)]
    (winner,) = [kept for kept in await asyncio.gather(*map(send, contents)) if kept]
    assert await content_of(area) == winner


async def test_a_writer_is_stopped_and_what_it_received_is_kept(area: UploadArea) -> None:
    holder = Holder(area, b"from a dead connection, ")
    await holder.silent.wait()
    await asyncio.gather(area.interrupt("u"), area.interrupt("u", seconds=60))
    assert await area.size("u") == 24
    with pytest.raises(UploadLocked):
        await holder.task
    await append(area, 24, b"and a new one")
    assert await content_of(area) == b"from a dead connection, and a new one"


async def test_what_a_stopped_writer_had_of_a_checksum_is_gone(area: UploadArea) -> None:
    holder = Holder(area, b"half", incoming=sha1_of(b"half and half"))
    await holder.silent.wait()
    await area.interrupt("u")
    assert await area.size("u") == 0
    with pytest.raises(UploadLocked):
        await holder.task


async def test_being_cancelled_is_not_being_interrupted(area: UploadArea) -> None:
    holder = Holder(area, b"x")
    await holder.silent.wait()
    holder.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holder.task
    assert await area.size("u") == 1
    with pytest.raises(TimeoutError):
        await append(area, 1, error=TimeoutError())


async def test_what_was_discarded_can_begin_anew_while_its_writer_goes_on(area: UploadArea) -> None:
    async with area.append(Position("u", 0), ANY) as writer:
        await writer.write(b"nobody will see this")
        await area.discard("u")
        assert await area.size("u") == 0
        await writer.write(b" nor this")
    assert await area.size("u") == 0
    await append(area, 0, b"new")
    assert await content_of(area) == b"new"


async def test_a_copy_goes_its_own_way(area: UploadArea) -> None:
    async with area.append(Position("u", 0), ANY) as writer:
        await writer.write(b"12345678")
        await writer.sync()
        await area.copy("u", 4, "v")
        assert await area.confirm("v") == 4
        await writer.write(b"late")
        await append(area, 4, b"new", name="v")
    assert await content_of(area, "v") == b"1234new"
    assert await content_of(area) == b"12345678late"


async def test_a_copy_of_what_is_not_there(area: UploadArea) -> None:
    await append(area, 0, b"four")
    with pytest.raises(OffsetMismatch) as refusal:
        await area.copy("u", 5, "v")
    assert refusal.value.extra == {"offset": 4}
    assert await area.idle(0) == ["u"]
    await area.copy("nothing", 0, "w")
    await append(area, 0, b"begins", name="w")
    assert await content_of(area, "w") == b"begins"
