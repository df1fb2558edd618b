"""The upload area on a local disk, beyond the contract: durable, hashed in one pass, and what a disk does."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from fcntl import flock
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mosic import disk
from mosic.errors import (
    InsufficientStorage,
    OffsetMismatch,
    StartupError,
    TooLarge,
    Unavailable,
    UploadLocked,
)
from mosic.staging import Incoming, LocalUploadArea, Position, StagedFile, local
from mosic.staging.writer import BUFFER_BYTES
from mosic.wire.tus import Checksum
from tests.support.waiting import until

MEBIBYTE = 1024 * 1024
NO_LIMIT = 2**62


@pytest.fixture
def area(tmp_path: Path) -> Path:
    return tmp_path / "area"


@pytest.fixture
async def staging(area: Path) -> AsyncIterator[LocalUploadArea]:
    staging = LocalUploadArea(area)
    yield staging
    await staging.close()


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Writes take a while; the event is set once one has begun."""
    begun = threading.Event()
    pwrite = os.pwrite

    def slow_pwrite(*args: Any) -> int:
        begun.set()
        time.sleep(0.05)
        return pwrite(*args)

    monkeypatch.setattr(os, "pwrite", slow_pwrite)
    return begun


@pytest.fixture
def rehashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows whenever a whole file is read to be hashed."""
    seen: list[str] = []
    file_digest = hashlib.file_digest

    def spy(*args: Any) -> Any:
        seen.append("read")
        return file_digest(*args)

    monkeypatch.setattr(hashlib, "file_digest", spy)
    return seen


def failing(code: int) -> Callable[..., Any]:
    def call(*_: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return call


def sample(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def sha1_of(content: bytes) -> Checksum:
    return Checksum("sha1", hashlib.sha1(content, usedforsecurity=False).digest())


def names_in(area: Path) -> list[str]:
    return sorted(path.name for path in area.iterdir())


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


async def receive(staging: LocalUploadArea, *chunks: bytes, limit: int = NO_LIMIT) -> StagedFile:
    """What was received; its file is gone again."""
    async with staging.create(Incoming(limit=limit)) as writer:
        for chunk in chunks:
            await writer.write(chunk)
        return await writer.finish()


async def append(
    staging: LocalUploadArea,
    offset: int,
    *chunks: bytes,
    limit: int = NO_LIMIT,
    checksum: Checksum | None = None,
    error: Exception | None = None,
) -> None:
    """One PATCH to the upload «u», which may end in an error."""
    async with staging.append(Position("u", offset), Incoming(limit=limit, checksum=checksum)) as writer:
        for chunk in chunks:
            await writer.write(chunk)
        if error is not None:
            raise error


async def finish(staging: LocalUploadArea, offset: int, *chunks: bytes) -> bytes:
    """The last PATCH to «u»: the content of the file, whose size and hash must be right."""
    async with staging.append(Position("u", offset), Incoming(limit=NO_LIMIT)) as writer:
        for chunk in chunks:
            await writer.write(chunk)
        staged = await writer.finish()
        content = staged.path.read_bytes()
        assert (staged.size, staged.sha256) == (len(content), sha256(content))
        return content


class Holder:
    """A request that has sent its chunks to «u» and then falls silent."""

    def __init__(self, staging: LocalUploadArea, *chunks: bytes) -> None:
        self.silent = asyncio.Event()
        self.task = asyncio.create_task(self._hold(staging, chunks))

    async def _hold(self, staging: LocalUploadArea, chunks: tuple[bytes, ...]) -> None:
        async with staging.append(Position("u", 0), Incoming(limit=NO_LIMIT)) as writer:
            for chunk in chunks:
                await writer.write(chunk)
            self.silent.set()
            await asyncio.sleep(60)


# One request, one file


EDGES = [0, 1, 2, 1000, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 3 * BUFFER_BYTES + 7]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.sampled_from(EDGES) | st.integers(0, 5000), max_size=8), as_views=st.booleans())
def test_however_it_is_cut(tmp_path: Path, sizes: list[int], as_views: bool) -> None:
    chunks = [sample(size, seed) for seed, size in enumerate(sizes)]

    async def run() -> None:
        staging = LocalUploadArea(tmp_path / "area")
        async with staging.create(Incoming(limit=NO_LIMIT)) as writer:
            for chunk in chunks:
                await writer.write(memoryview(b"<" + chunk + b">")[1:-1] if as_views else chunk)
            staged = await writer.finish()
            assert staged.path.read_bytes() == b"".join(chunks)
            assert staged.sha256 == sha256(b"".join(chunks))
        await staging.close()

    asyncio.run(run())


async def test_many_at_once(staging: LocalUploadArea, area: Path) -> None:
    async def send(seed: int) -> None:
        content = sample(MEBIBYTE + seed * 10_000, seed)
        async with staging.create(Incoming(limit=NO_LIMIT, declared_size=len(content))) as writer:
            for at in range(0, len(content), 50_000):
                await writer.write(content[at : at + 50_000])
                await asyncio.sleep(0)
            staged = await writer.finish()
            assert staged.path.read_bytes() == content
            assert staged.sha256 == sha256(content)

    await asyncio.gather(*(send(seed) for seed in range(25)))
    assert names_in(area) == []


async def test_what_is_promised_was_synced(
    staging: LocalUploadArea, area: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    synced: list[str | int] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        synced.append(path.name if path.is_dir() else path.stat().st_size)

    monkeypatch.setattr(os, "fsync", spy)
    async with staging.create(Incoming(limit=NO_LIMIT)) as writer:
        await writer.write(b"audio")
        await writer.finish()
        assert synced == [5]
    synced.clear()
    async with staging.append(Position("u", 0), Incoming(limit=NO_LIMIT)) as writer:
        await writer.write(b"x")
        await writer.sync()
        assert synced == [area.name, 1]  # a new file could be lost with its name


# Limits and room


async def test_a_declared_size_is_refused_before_anything_is_made(
    staging: LocalUploadArea, area: Path
) -> None:
    async with staging.create(Incoming(limit=1000, declared_size=1000)):
        assert len(names_in(area)) == 1
    with pytest.raises(TooLarge):
        async with staging.create(Incoming(limit=1000, declared_size=1001)):
            pytest.fail("was let in")
    with pytest.raises(InsufficientStorage):
        async with staging.create(Incoming(limit=NO_LIMIT, declared_size=2**60)):
            pytest.fail("was let in")
    assert names_in(area) == []


async def test_running_uploads_keep_the_room_they_need(
    staging: LocalUploadArea, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 100 * MEBIBYTE
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free // 4096, f_frsize=4096))
    assert await staging.free_bytes() == free
    async with staging.create(Incoming(limit=NO_LIMIT, declared_size=60 * MEBIBYTE)) as writer:
        await staging.admit(40 * MEBIBYTE)
        with pytest.raises(InsufficientStorage):
            await staging.admit(40 * MEBIBYTE + 1)
        # What has been written is missing from the disk's free room, and needed no longer.
        await writer.write(bytes(20 * MEBIBYTE))
        await writer.sync()
        free -= 20 * MEBIBYTE
        await staging.admit(40 * MEBIBYTE)
        with pytest.raises(InsufficientStorage):
            await staging.admit(40 * MEBIBYTE + 1)
    free = 100 * MEBIBYTE
    await staging.admit(100 * MEBIBYTE)


async def test_of_two_that_do_not_fit_together_one_gets_in(
    staging: LocalUploadArea, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=1000, f_frsize=1))

    async def send() -> bool:
        try:
            async with staging.create(Incoming(limit=NO_LIMIT, declared_size=600)):
                await asyncio.sleep(0.05)
        except InsufficientStorage:
            return False
        return True

    assert sorted(await asyncio.gather(send(), send())) == [False, True]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("call", ["pwrite", "fsync", "open"])
async def test_a_full_disk(
    staging: LocalUploadArea, area: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    before = open_files()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(code))
        with pytest.raises(InsufficientStorage):
            await receive(staging, *[bytes(MEBIBYTE)] * 10)
    assert names_in(area) == []
    assert open_files() == before


async def test_another_trouble_of_the_disk_is_not_called_full(
    staging: LocalUploadArea, area: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", failing(errno.EIO))
    with pytest.raises(Unavailable):
        await receive(staging, b"x")
    assert names_in(area) == []


async def test_a_disk_that_takes_a_part(staging: LocalUploadArea, monkeypatch: pytest.MonkeyPatch) -> None:
    """write(2) may take less than it is given, as just before a disk is full."""
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:100_001], at))
    content = sample(2 * MEBIBYTE + 5)
    assert await finish(staging, 0, content) == content


FILE_LIMIT = """
import asyncio, os, resource, sys
from pathlib import Path
from mosic.errors import InsufficientStorage
from mosic.staging import Incoming, LocalUploadArea, Position

async def main(area):
    staging = LocalUploadArea(area)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
    try:
        async with staging.create(Incoming(limit=10**9)) as writer:
            for _ in range(100):
                await writer.write(bytes(100_000))
            await writer.finish()
    except InsufficientStorage:
        print("refused", os.listdir(area))
    async with staging.create(Incoming(limit=10**9)) as writer:
        await writer.write(bytes(3_000_000))
        print("taken", (await writer.finish()).size)
    try:
        async with staging.append(Position("u", 0), Incoming(limit=10**9)) as writer:
            await writer.write(bytes(4_000_000))
    except InsufficientStorage:
        print("stands", await staging.size("u"))

asyncio.run(main(Path(sys.argv[1])))
"""


def test_the_largest_file_that_the_system_allows(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILE_LIMIT, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["refused []", "taken 3000000", "stands 3000000"], done.stderr


async def test_a_small_file_system_that_fills_up(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs to mount a tmpfs")
    staging = LocalUploadArea(tmp_path / "area")
    try:
        assert 0 < await staging.free_bytes() <= 4 * MEBIBYTE
        with pytest.raises(InsufficientStorage):
            await receive(staging, *[bytes(MEBIBYTE)] * 8)
        assert names_in(tmp_path / "area") == []
        assert (await receive(staging, *[bytes(MEBIBYTE)] * 3)).size == 3 * MEBIBYTE
    finally:
        await staging.close()
        subprocess.run(["umount", str(tmp_path)], check=True)


MEMORY = """
import asyncio, resource, sys
from pathlib import Path
from mosic.staging import Incoming, LocalUploadArea, Position

def peak():
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size // 1024 if sys.platform == "linux" else size // 1024 // 1024

async def receive(staging, size):
    async with staging.create(Incoming(limit=size)) as writer:
        for _ in range(size // 65536):
            await writer.write(bytes(65536))
        await writer.finish()

async def main(area):
    staging = LocalUploadArea(area)
    await receive(staging, 2**20)
    before = peak()
    await receive(staging, 500 * 2**20)
    print(peak() - before)

asyncio.run(main(Path(sys.argv[1])))
"""


def test_memory_stays_flat(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) <= 8  # MiB, of 500


# Ends


async def test_cancelled_at_any_moment(staging: LocalUploadArea, area: Path) -> None:
    before = open_files()

    async def send() -> None:
        async with staging.create(Incoming(limit=NO_LIMIT, declared_size=2 * MEBIBYTE)) as writer:
            await writer.write(bytes(2 * MEBIBYTE))
            await writer.finish()

    for steps in range(60):
        task = asyncio.create_task(send())
        for _ in range(steps):
            await asyncio.sleep(0.0001)
        task.cancel()
        await asyncio.wait([task])
    assert names_in(area) == []
    assert open_files() == before


@pytest.mark.parametrize("times", [1, 2])
async def test_cancelled_while_a_thread_writes(
    staging: LocalUploadArea, area: Path, slow_disk: threading.Event, times: int
) -> None:
    before = open_files()
    task = asyncio.create_task(receive(staging, *[bytes(MEBIBYTE)] * 100))
    await until(slow_disk.is_set)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: names_in(area) == [] and open_files() == before)


async def test_a_fast_sender_waits_for_the_disk(staging: LocalUploadArea, slow_disk: threading.Event) -> None:
    async with staging.create(Incoming(limit=NO_LIMIT)) as writer:
        started = time.monotonic()
        for _ in range(10):
            await writer.write(bytes(BUFFER_BYTES))
        # Two may be on their way: at least seven writes of 0.05 s each are over.
        assert time.monotonic() - started >= 7 * 0.05


async def test_what_a_slow_sender_brings_is_not_kept_in_memory(staging: LocalUploadArea, area: Path) -> None:
    async with staging.create(Incoming(limit=NO_LIMIT)) as writer:
        async with asyncio.timeout(60):
            sent = 0
            while not (written := sum(path.stat().st_size for path in area.iterdir())):
                await writer.write(b"x" * 1000)
                sent += 1000
                await asyncio.sleep(0.05)
        assert written <= sent < BUFFER_BYTES


@pytest.fixture
def on_the_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Calls that may wait for a disk, made by a thread in which an event loop runs."""
    calls: list[str] = []

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if asyncio._get_running_loop() is not None:
                calls.append(name)
            return function(*args, **options)

        return call

    names = ["open", "pwrite", "fsync", "ftruncate", "statvfs", "unlink", "symlink", "readlink"]
    with monkeypatch.context() as patch:
        for name in names:
            patch.setattr(os, name, watched(name, getattr(os, name)))
        yield calls


async def test_the_event_loop_is_never_blocked(staging: LocalUploadArea, on_the_loop: list[str]) -> None:
    async with staging.create(Incoming(limit=NO_LIMIT, declared_size=3 * MEBIBYTE)) as writer:
        await writer.write(bytes(3 * MEBIBYTE))
        await writer.finish()
    for offset, checksum in ((0, None), (1, sha1_of(b"x"))):
        incoming = Incoming(limit=NO_LIMIT, declared_size=1, checksum=checksum)
        async with staging.append(Position("u", offset), incoming) as writer:
            await writer.write(b"x")
            await writer.finish()
    async with staging.finish("u"):
        pass
    await staging.copy("u", 1, "v")
    with pytest.raises(OffsetMismatch):
        await append(staging, 1)
    await staging.size("u")
    await staging.confirm("u")
    await staging.discard("u")
    await staging.idle()
    await staging.sweep()
    assert on_the_loop == []
    os.statvfs("/")
    assert on_the_loop == ["statvfs"]  # it does see them


def test_on_uvloop(tmp_path: Path) -> None:
    async def run() -> None:
        staging = LocalUploadArea(tmp_path)
        content = sample(3 * MEBIBYTE)
        assert (await receive(staging, content)).sha256 == sha256(content)
        holder = Holder(staging, content)
        await holder.silent.wait()
        await staging.interrupt("u")
        with pytest.raises(UploadLocked):
            await holder.task
        assert await finish(staging, len(content), b"end") == content + b"end"
        await staging.close()

    uvloop.run(run())


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="MOSIC_MEDIA_ROOT"):
        LocalUploadArea(tmp_path / "file" / "area")


# Resumable uploads


async def test_an_upload_in_pieces(staging: LocalUploadArea, area: Path, rehashed: list[str]) -> None:
    content = sample(3 * MEBIBYTE + 3)
    offset = 0
    for piece in (content[:10], b"", content[10 : 2 * MEBIBYTE], content[2 * MEBIBYTE :]):
        assert await staging.size("u") == offset
        async with staging.append(
            Position("u", offset), Incoming(limit=len(content), declared_size=len(piece))
        ) as writer:
            await writer.write(piece)
            offset += len(piece)
            assert await writer.sync() == writer.size == offset
    assert await finish(staging, offset) == content
    assert rehashed == []
    async with staging.finish("u") as lent:
        assert lent.sha256 == sha256(content)
    assert rehashed == []
    await staging.discard("u")
    assert names_in(area) == []


async def test_pieces_that_came_to_another_process(
    staging: LocalUploadArea, area: Path, rehashed: list[str]
) -> None:
    other = LocalUploadArea(area)
    await append(other, 0, b"one,")
    await append(staging, 4, b"two,")
    assert await finish(other, 8, b"three") == b"one,two,three"
    assert rehashed == ["read"]
    assert await finish(other, 13) == b"one,two,three"  # now known here
    assert rehashed == ["read"]
    await other.close()


async def test_more_uploads_than_hashes_are_kept(
    staging: LocalUploadArea, monkeypatch: pytest.MonkeyPatch, rehashed: list[str]
) -> None:
    monkeypatch.setattr(local, "HASHES_KEPT", 2)
    for name, offset in (("a", 0), ("b", 0), ("a", 1), ("c", 0)):  # so b was used longest ago
        async with staging.append(Position(name, offset), Incoming(limit=NO_LIMIT)) as writer:
            await writer.write(b"x")
    for name, content in (("a", b"xx"), ("c", b"x"), ("b", b"x")):
        assert rehashed == []
        async with staging.append(Position(name, len(content)), Incoming(limit=NO_LIMIT)) as writer:
            assert (await writer.finish()).sha256 == sha256(content)
    assert rehashed == ["read"]


@pytest.mark.parametrize("times", [1, 2])
async def test_what_came_before_a_cancellation_is_kept(
    staging: LocalUploadArea, slow_disk: threading.Event, times: int
) -> None:
    before, content = open_files(), sample(2 * MEBIBYTE + 9)
    holder = Holder(staging, content)
    await holder.silent.wait()
    for _ in range(times):
        holder.task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await holder.task
    await until(lambda: open_files() == before)
    assert await staging.size("u") == len(content)
    assert await finish(staging, len(content)) == content


async def test_a_full_disk_keeps_what_fitted(
    staging: LocalUploadArea, monkeypatch: pytest.MonkeyPatch, rehashed: list[str]
) -> None:
    """Also of a buffer that fitted in part; and nothing behind the hole, when there is room again."""
    content, pwrite, room = sample(4 * MEBIBYTE), os.pwrite, MEBIBYTE + 1000
    full = False

    def fill(descriptor: int, data: memoryview, at: int) -> int:
        nonlocal full
        if at == room and not full:
            full = True
            raise OSError(errno.ENOSPC, "full")
        return pwrite(descriptor, data[: room - at] if at < room else data, at)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fill)
        with pytest.raises(InsufficientStorage):
            await append(staging, 0, content)
    assert await staging.size("u") == room
    assert await finish(staging, room, content[room:]) == content
    assert rehashed == []


@pytest.mark.parametrize("call", ["pwrite", "fsync"])
async def test_a_full_disk_is_told_when_the_block_is_left(
    staging: LocalUploadArea, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Whoever leaves the block without `sync` must not promise an offset that may not be there."""
    await append(staging, 0, b"x")
    monkeypatch.setattr(os, call, failing(errno.ENOSPC))
    with pytest.raises(InsufficientStorage):
        await append(staging, 1, b"y")


async def test_only_one_writes(staging: LocalUploadArea, area: Path) -> None:
    other = LocalUploadArea(area)  # as another process would
    async with staging.append(Position("u", 0), Incoming(limit=NO_LIMIT)) as writer:
        await writer.write(b"mine")
        for rival in (staging, other):
            with pytest.raises(UploadLocked):
                await append(rival, 0, b"theirs")
        async with staging.append(Position("v", 0), Incoming(limit=NO_LIMIT)) as elsewhere:
            await elsewhere.write(b"free")
    assert await finish(other, 4) == b"mine"
    await other.close()


async def test_a_forked_process_does_not_keep_the_lock(staging: LocalUploadArea, area: Path) -> None:
    """It has copies of all descriptors, until it closes them or starts another program."""
    copies = []
    async with staging.append(Position("u", 0), Incoming(limit=NO_LIMIT)):
        for descriptor in range(3, 256):
            with suppress(OSError):
                if os.path.samestat(os.fstat(descriptor), (area / "u.upload").stat()):
                    copies.append(os.dup(descriptor))
    assert copies
    await append(staging, 0, b"x")
    for copy in copies:
        os.close(copy)


async def test_an_upload_that_is_published_at_this_moment(
    staging: LocalUploadArea, area: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and locking the file it may become a blob, which nobody must write to any more."""

    def publish(descriptor: int, operation: int) -> None:
        if (area / "u.upload").exists():
            (area / "u.upload").rename(tmp_path / "blob")
        flock(descriptor, operation)

    await append(staging, 0, b"audio")
    monkeypatch.setattr(disk, "flock", publish)
    with pytest.raises(UploadLocked):
        await append(staging, 5, b"more")
    assert (tmp_path / "blob").read_bytes() == b"audio"


async def test_after_a_writer_was_stopped_nothing_is_read_again(
    staging: LocalUploadArea, rehashed: list[str]
) -> None:
    holder = Holder(staging, b"from a dead connection, ")
    await holder.silent.wait()
    await staging.interrupt("u")
    assert await finish(staging, 24, b"and a new one") == b"from a dead connection, and a new one"
    with pytest.raises(UploadLocked):
        await holder.task
    assert rehashed == []


async def test_after_a_piece_was_taken_back_nothing_is_read_again(
    staging: LocalUploadArea, rehashed: list[str]
) -> None:
    await append(staging, 0, b"one,", checksum=sha1_of(b"one,"))
    with pytest.raises(ConnectionError):
        await append(staging, 4, bytes(2 * MEBIBYTE), b"x", checksum=sha1_of(b"two"), error=ConnectionError())
    assert await finish(staging, 4, b"two") == b"one,two"
    assert rehashed == []


async def test_of_a_copy_nothing_is_read_again(staging: LocalUploadArea, rehashed: list[str]) -> None:
    await append(staging, 0, b"one,late")
    await staging.copy("u", 4, "v")
    async with staging.append(Position("v", 4), Incoming(limit=NO_LIMIT)) as writer:
        await writer.write(b"two")
    async with staging.finish("v") as staged:
        assert staged.sha256 == sha256(b"one,two")
    assert rehashed == []


# Processes that are killed

KILLED = """
import asyncio, sys
from pathlib import Path
from mosic.staging import Incoming, LocalUploadArea, Position

async def main(area, how):
    staging = LocalUploadArea(area)
    if how == "receive":
        block = staging.create(Incoming(limit=10**9))
    else:
        block = staging.append(Position("u", 4), Incoming(limit=10**9))
    async with block as writer:
        await writer.write(b"new!")
        await writer.sync()
        print("there", flush=True)
        await asyncio.sleep(60)

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


@contextmanager
def another_process(area: Path, how: str) -> Iterator[None]:
    """Writes into the area until the block is left: then it is killed."""
    command = [sys.executable, "-c", KILLED, str(area), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "there\n"
            yield
        finally:
            process.kill()


async def test_an_upload_survives_its_process(staging: LocalUploadArea, area: Path) -> None:
    await append(staging, 0, b"old,")
    with another_process(area, "append"):
        with pytest.raises(UploadLocked):
            await append(staging, 4)
        assert await staging.confirm("u") == 8
    assert await staging.confirm("u") == 8
    assert await finish(staging, 8, b"end") == b"old,new!end"
    assert names_in(area) == ["u.upload"]


async def test_what_does_not_count_is_cut_off(staging: LocalUploadArea, area: Path) -> None:
    """A piece with a checksum that nobody verified, since its process died: the row knows."""
    await append(staging, 0, b"old,")
    with another_process(area, "append"):
        pass
    with pytest.raises(OffsetMismatch):
        await append(staging, 4)
    async with staging.append(Position("u", 4, cut=True), Incoming(limit=NO_LIMIT)) as writer:
        await writer.write(b"end")
        content = (await writer.finish()).path.read_bytes()
    assert content == b"old,end"


async def test_a_mark_of_an_earlier_version_is_heeded(area: Path) -> None:
    """It was a link beside the file, which said where a piece with a checksum began."""
    area.mkdir()
    (area / "u.upload").write_bytes(b"old,new!")
    (area / "u.atomic").symlink_to("4")
    (area / "v.atomic").symlink_to("17")
    staging = LocalUploadArea(area)
    assert await finish(staging, 4, b"end") == b"old,end"
    assert names_in(area) == ["u.upload"]
    await staging.close()


async def test_the_sweep_takes_only_what_nobody_writes(staging: LocalUploadArea, area: Path) -> None:
    await append(staging, 0, b"x")
    long_ago = time.time() - 3600
    with another_process(area, "receive"):
        (received,) = area.glob("*.part")
        os.utime(received, (long_ago, long_ago))
        assert await staging.sweep() == 0
    os.utime(received)
    assert await staging.sweep() == 0  # so new that it might not be locked yet
    os.utime(received, (long_ago, long_ago))
    os.utime(area / "u.upload", (long_ago, long_ago))
    assert await staging.sweep() == 1
    assert names_in(area) == ["u.upload"]


ENDLESS = """
import asyncio, hashlib, sys
from pathlib import Path
from mosic.staging import Incoming, LocalUploadArea, Position
from mosic.wire.tus import Checksum

def piece(start, size):
    return bytes(at % 251 for at in range(start, start + 251)) * (size // 251)

async def main(area, offset):
    staging = LocalUploadArea(area)
    checksum = None
    while True:
        async with staging.append(Position("u", offset), Incoming(limit=10**12, checksum=checksum)) as writer:
            for _ in range(3):
                await writer.write(piece(writer.size, 251 * 2000))
        offset = writer.size
        print(offset, flush=True)
        digest = hashlib.sha1(piece(offset, 251 * 6000)).digest()
        checksum = None if checksum else Checksum("sha1", digest)

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


@pytest.mark.slow
async def test_no_promised_offset_is_lost_by_kill(staging: LocalUploadArea, area: Path) -> None:
    dice = random.Random(5)
    offset = 0
    for _ in range(20):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ENDLESS, str(area), str(offset)), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        first = await process.stdout.readline()  # it writes now, however slow the machine is
        await asyncio.sleep(dice.random() * 0.2)
        process.kill()
        promised = [
            int(line)
            for line in (first + await process.stdout.read()).splitlines(True)
            if line.endswith(b"\n")
        ]
        await process.wait()
        size = await staging.size("u")
        assert size >= max([offset, *promised])
        offset = size
    content = await finish(staging, offset)
    assert content == (bytes(range(251)) * (offset // 251 + 1))[:offset]
    assert offset > 10 * MEBIBYTE
