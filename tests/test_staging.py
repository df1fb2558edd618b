"""Staged files: whole, hashed, durable; or gone."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mosic import staging as staging_module
from mosic.errors import (
    InsufficientStorage,
    OffsetMismatch,
    StartupError,
    TooLarge,
    UploadLocked,
    UploadNotFound,
)
from mosic.staged import BUFFER_BYTES, StagedFile
from mosic.staging import Staging

MEBIBYTE = 1024 * 1024
NO_LIMIT = 2**62


@pytest.fixture
async def staging(tmp_path: Path) -> AsyncIterator[Staging]:
    staging = Staging(tmp_path / "area")
    yield staging
    await staging.close()


@pytest.fixture
def area(tmp_path: Path) -> Path:
    return tmp_path / "area"


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


def sample(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def names_in(area: Path) -> list[str]:
    return sorted(path.name for path in area.iterdir())


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def receive(staging: Staging, *chunks: bytes, limit: int = NO_LIMIT) -> StagedFile:
    """What was received; its file is gone again."""
    async with staging.receive(limit=limit) as writer:
        for chunk in chunks:
            await writer.write(chunk)
        return await writer.finish()


async def append(
    staging: Staging,
    offset: int,
    *chunks: bytes,
    limit: int = NO_LIMIT,
    atomic: bool = False,
    error: Exception | None = None,
) -> None:
    """One PATCH to the upload «u», which may end with an error."""
    async with staging.append("u", offset, limit=limit, atomic=atomic) as writer:
        for chunk in chunks:
            await writer.write(chunk)
        if error is not None:
            raise error


async def finish(staging: Staging, offset: int, *chunks: bytes) -> str:
    """The last PATCH to «u»; the SHA-256 that comes out, which must be that of what is on disk."""
    async with staging.append("u", offset, limit=NO_LIMIT) as writer:
        for chunk in chunks:
            await writer.write(chunk)
        staged = await writer.finish()
        content = staged.path.read_bytes()
        assert (staged.size, staged.sha256) == (len(content), sha256(content))
        return staged.sha256


# One request, one file


async def test_a_file_is_whole_hashed_and_then_gone(staging: Staging, area: Path) -> None:
    content = sample(3 * MEBIBYTE + 17)
    async with staging.receive(limit=NO_LIMIT) as writer:
        for at in range(0, len(content), 65_536):
            await writer.write(content[at : at + 65_536])
        assert writer.size == len(content)
        staged = await writer.finish()
        assert staged.size == len(content)
        assert staged.sha256 == sha256(content)
        assert staged.path.parent == area
        assert staged.path.read_bytes() == content
    assert names_in(area) == []


async def test_an_empty_file(staging: Staging) -> None:
    async with staging.receive(limit=0) as writer:
        staged = await writer.finish()
        assert (staged.size, staged.sha256) == (0, sha256(b""))
        assert staged.path.read_bytes() == b""


async def test_a_published_file_stays(staging: Staging, area: Path, tmp_path: Path) -> None:
    async with staging.receive(limit=NO_LIMIT) as writer:
        await writer.write(b"audio")
        staged = await writer.finish()
        staged.path.rename(tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == b"audio"
    assert names_in(area) == []


EDGES = [0, 1, 2, 1000, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 3 * BUFFER_BYTES + 7]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.sampled_from(EDGES) | st.integers(0, 5000), max_size=8), as_views=st.booleans())
def test_however_it_is_cut(tmp_path: Path, sizes: list[int], as_views: bool) -> None:
    chunks = [sample(size, seed) for seed, size in enumerate(sizes)]

    async def run() -> None:
        staging = Staging(tmp_path / "area")
        async with staging.receive(limit=NO_LIMIT) as writer:
            for chunk in chunks:
                await writer.write(memoryview(b"<" + chunk + b">")[1:-1] if as_views else chunk)
            staged = await writer.finish()
            assert staged.path.read_bytes() == b"".join(chunks)
            assert staged.sha256 == sha256(b"".join(chunks))
        await staging.close()

    asyncio.run(run())


async def test_another_digest_on_the_way(staging: Staging) -> None:
    content, also = sample(2 * MEBIBYTE), hashlib.sha512()
    async with staging.receive(limit=NO_LIMIT, also=also) as writer:
        await writer.write(content)
        await writer.finish()
        assert also.digest() == hashlib.sha512(content).digest()


async def test_what_is_finished_was_synced(staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", spy)
    async with staging.receive(limit=NO_LIMIT) as writer:
        await writer.write(b"audio")
        await writer.finish()
        assert synced == [5]


async def test_many_at_once(staging: Staging, area: Path) -> None:
    async def send(seed: int) -> None:
        content = sample(MEBIBYTE + seed * 10_000, seed)
        async with staging.receive(limit=NO_LIMIT, declared_size=len(content)) as writer:
            for at in range(0, len(content), 50_000):
                await writer.write(content[at : at + 50_000])
                await asyncio.sleep(0)
            staged = await writer.finish()
            assert staged.path.read_bytes() == content
            assert staged.sha256 == sha256(content)

    await asyncio.gather(*(send(seed) for seed in range(25)))
    assert names_in(area) == []


# Limits and room


async def test_the_limit_and_one_more(staging: Staging, area: Path) -> None:
    async with staging.receive(limit=1000) as writer:
        await writer.write(bytes(999))
        await writer.write(bytes(1))
        assert (await writer.finish()).size == 1000
    with pytest.raises(TooLarge):
        async with staging.receive(limit=1000) as writer:
            await writer.write(bytes(999))
            await writer.write(bytes(2))
    assert names_in(area) == []


async def test_a_declared_size_is_refused_before_anything_is_made(staging: Staging, area: Path) -> None:
    async with staging.receive(limit=1000, declared_size=1000):
        assert len(names_in(area)) == 1
    with pytest.raises(TooLarge):
        async with staging.receive(limit=1000, declared_size=1001):
            pytest.fail("was let in")
    with pytest.raises(InsufficientStorage):
        async with staging.receive(limit=NO_LIMIT, declared_size=2**60):
            pytest.fail("was let in")
    assert names_in(area) == []


async def test_running_uploads_keep_the_room_they_need(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 100 * MEBIBYTE
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free // 4096, f_frsize=4096))
    assert await staging.free_bytes() == free
    async with staging.receive(limit=NO_LIMIT, declared_size=60 * MEBIBYTE) as writer:
        with pytest.raises(InsufficientStorage):
            await staging.admit(41 * MEBIBYTE)
        await staging.admit(40 * MEBIBYTE)
        # What has been written is missing from the disk's free room, and needed no longer.
        await writer.write(bytes(20 * MEBIBYTE))
        await writer.sync()
        free -= 20 * MEBIBYTE
        await staging.admit(40 * MEBIBYTE)
        with pytest.raises(InsufficientStorage):
            await staging.admit(41 * MEBIBYTE)
    free = 100 * MEBIBYTE
    await staging.admit(100 * MEBIBYTE)


async def test_of_two_that_do_not_fit_together_one_gets_in(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=1000, f_frsize=1))

    async def send() -> bool:
        try:
            async with staging.receive(limit=NO_LIMIT, declared_size=600):
                await asyncio.sleep(0.05)
        except InsufficientStorage:
            return False
        return True

    assert sorted(await asyncio.gather(send(), send())) == [False, True]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("call", ["pwrite", "fsync", "open"])
async def test_a_full_disk(
    staging: Staging, area: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    def full(*_: Any) -> int:
        raise OSError(code, os.strerror(code))

    before = open_files()
    monkeypatch.setattr(os, call, full)
    with pytest.raises(InsufficientStorage):
        async with staging.receive(limit=NO_LIMIT) as writer:
            for _ in range(10):
                await writer.write(bytes(MEBIBYTE))
            await writer.finish()
    monkeypatch.undo()
    assert names_in(area) == []
    assert open_files() == before


async def test_another_trouble_of_the_disk_is_not_called_full(
    staging: Staging, area: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> int:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(os, "pwrite", broken)
    with pytest.raises(OSError, match="I/O error"):
        async with staging.receive(limit=NO_LIMIT) as writer:
            await writer.write(b"x")
            await writer.finish()
    assert names_in(area) == []


async def test_a_disk_that_takes_a_part(staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    """write(2) may take less than it is given, as just before a disk is full."""
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:100_001], at))
    content = sample(2 * MEBIBYTE + 5)
    async with staging.receive(limit=NO_LIMIT) as writer:
        await writer.write(content)
        staged = await writer.finish()
        assert staged.path.read_bytes() == content
        assert staged.sha256 == sha256(content)


FILE_LIMIT = """
import asyncio, os, resource, sys
from pathlib import Path
from mosic.errors import InsufficientStorage
from mosic.staging import Staging

async def main(area):
    staging = Staging(area)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
    try:
        async with staging.receive(limit=10**9) as writer:
            for _ in range(100):
                await writer.write(bytes(100_000))
            await writer.finish()
    except InsufficientStorage:
        print("refused", os.listdir(area))
    async with staging.receive(limit=10**9) as writer:
        await writer.write(bytes(3_000_000))
        print("taken", (await writer.finish()).size)
    try:
        async with staging.append("u", 0, limit=10**9) as writer:
            await writer.write(bytes(4_000_000))
    except InsufficientStorage:
        print("stands", await staging.upload_size("u"))

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
    staging = Staging(tmp_path / "area")
    try:
        assert 0 < await staging.free_bytes() <= 4 * MEBIBYTE
        with pytest.raises(InsufficientStorage):
            async with staging.receive(limit=NO_LIMIT) as writer:
                for _ in range(8):
                    await writer.write(bytes(MEBIBYTE))
                await writer.finish()
        assert names_in(tmp_path / "area") == []
        async with staging.receive(limit=NO_LIMIT) as writer:
            await writer.write(bytes(3 * MEBIBYTE))
            await writer.finish()
    finally:
        await staging.close()
        subprocess.run(["umount", str(tmp_path)], check=True)


MEMORY = """
import asyncio, resource, sys
from pathlib import Path
from mosic.staging import Staging

def peak():
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size // 1024 if sys.platform == "linux" else size // 1024 // 1024

async def receive(staging, size):
    chunk = bytes(65536)
    async with staging.receive(limit=size) as writer:
        for _ in range(size // len(chunk)):
            await writer.write(bytes(chunk))
        await writer.finish()

async def main(area):
    staging = Staging(area)
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
    assert int(done.stdout) <= 8  # MiB


# Ends


async def test_a_block_that_fails(staging: Staging, area: Path) -> None:
    before = open_files()
    with pytest.raises(KeyError):
        async with staging.receive(limit=NO_LIMIT) as writer:
            await writer.write(bytes(5 * MEBIBYTE))
            raise KeyError
    assert names_in(area) == []
    assert open_files() == before


@pytest.mark.parametrize("times", [1, 2])
async def test_cancelled_while_a_thread_writes(
    staging: Staging, area: Path, slow_disk: threading.Event, times: int
) -> None:
    before = open_files()

    async def send() -> None:
        async with staging.receive(limit=NO_LIMIT) as writer:
            while True:
                await writer.write(bytes(MEBIBYTE))

    task = asyncio.create_task(send())
    await until(slow_disk.is_set)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: names_in(area) == [])
    await until(lambda: open_files() == before)


async def test_cancelled_at_any_moment(staging: Staging, area: Path) -> None:
    before = open_files()

    async def send() -> None:
        async with staging.receive(limit=NO_LIMIT, declared_size=2 * MEBIBYTE) as writer:
            await writer.write(bytes(2 * MEBIBYTE))
            await writer.finish()

    for steps in range(60):
        task = asyncio.create_task(send())
        for _ in range(steps):
            await asyncio.sleep(0.0002)
        task.cancel()
        await asyncio.wait([task])
    await until(lambda: names_in(area) == [])
    await until(lambda: open_files() == before)
    await staging.admit(MEBIBYTE)


async def test_a_fast_sender_waits_for_the_disk(staging: Staging, slow_disk: threading.Event) -> None:
    async with staging.receive(limit=NO_LIMIT) as writer:
        started = time.monotonic()
        for _ in range(10):
            await writer.write(bytes(MEBIBYTE))
        # Of 10 buffers 2 may be on their way: 8 writes of 0.05 s each lie behind.
        assert time.monotonic() - started >= 0.05 * 7


@pytest.fixture
def on_the_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Calls that may wait for a disk, made while an event loop runs in the calling thread."""
    calls: list[str] = []

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if asyncio._get_running_loop() is not None:
                calls.append(name)
            return function(*args, **options)

        return call

    with monkeypatch.context() as patch:
        for name in (
            "open",
            "pwrite",
            "pread",
            "fsync",
            "ftruncate",
            "statvfs",
            "unlink",
            "symlink",
            "readlink",
        ):
            patch.setattr(os, name, watched(name, getattr(os, name)))
        yield calls


async def test_the_event_loop_is_never_blocked(
    staging: Staging, on_the_loop: list[str], tmp_path: Path
) -> None:
    async with staging.receive(limit=NO_LIMIT, declared_size=3 * MEBIBYTE) as writer:
        await writer.write(bytes(3 * MEBIBYTE))
        await writer.finish()
    for offset, atomic in ((0, False), (1, True)):
        async with staging.append("u", offset, limit=NO_LIMIT, declared_size=1, atomic=atomic) as writer:
            await writer.write(b"x")
            await writer.finish()
    with pytest.raises(OffsetMismatch):
        async with staging.append("u", 1, limit=NO_LIMIT):
            pass
    await staging.upload_size("u")
    await staging.remove_upload("u")
    await staging.sweep()
    assert on_the_loop == []
    (tmp_path / "canary").touch()
    os.unlink(tmp_path / "canary")
    assert on_the_loop == ["unlink"]


def test_on_uvloop(tmp_path: Path) -> None:
    async def run() -> None:
        staging = Staging(tmp_path)
        content = sample(3 * MEBIBYTE)
        async with staging.receive(limit=NO_LIMIT) as writer:
            await writer.write(content)
            assert (await writer.finish()).sha256 == sha256(content)
        writing = asyncio.Event()

        async def hold() -> None:
            async with staging.append("u", 0, limit=NO_LIMIT) as writer:
                await writer.write(content)
                writing.set()
                await asyncio.sleep(60)

        holder = asyncio.create_task(hold())
        await writing.wait()
        await staging.interrupt("u")
        with pytest.raises(UploadLocked):
            await holder
        assert await staging.upload_size("u") == len(content)
        await staging.close()
        assert names_in(tmp_path) == ["u.upload"]

    uvloop.run(run())


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="MOSIC_MEDIA_ROOT"):
        Staging(tmp_path / "file" / "area")


# Resumable uploads


async def test_an_upload_in_pieces(staging: Staging, area: Path, rehashed: list[str]) -> None:
    content = sample(3 * MEBIBYTE + 3)
    pieces = [content[:10], content[10:10], content[10 : 2 * MEBIBYTE], content[2 * MEBIBYTE :]]
    offset = 0
    for piece in pieces:
        assert await staging.upload_size("u") == offset
        async with staging.append("u", offset, limit=len(content), declared_size=len(piece)) as writer:
            await writer.write(piece)
            offset += len(piece)
            assert await writer.sync() == writer.size == offset
    async with staging.append("u", offset, limit=len(content)) as writer:
        staged = await writer.finish()
        assert (staged.size, staged.sha256) == (len(content), sha256(content))
        assert staged.path.read_bytes() == content
    assert rehashed == []
    await staging.remove_upload("u")
    assert names_in(area) == []
    assert await staging.upload_size("u") == 0


async def test_pieces_that_came_to_another_process(staging: Staging, area: Path, rehashed: list[str]) -> None:
    other = Staging(area)
    async with other.append("u", 0, limit=NO_LIMIT) as writer:
        await writer.write(b"one,")
    async with staging.append("u", 4, limit=NO_LIMIT) as writer:
        await writer.write(b"two,")
    async with other.append("u", 8, limit=NO_LIMIT) as writer:
        await writer.write(b"three")
        assert (await writer.finish()).sha256 == sha256(b"one,two,three")
    assert rehashed == ["read"]
    # Now it is known here.
    async with other.append("u", 13, limit=NO_LIMIT) as writer:
        assert (await writer.finish()).sha256 == sha256(b"one,two,three")
    assert rehashed == ["read"]
    await other.close()


async def test_more_uploads_than_hashes_are_kept(
    staging: Staging, monkeypatch: pytest.MonkeyPatch, rehashed: list[str]
) -> None:
    monkeypatch.setattr(staging_module, "HASHES_KEPT", 2)
    for name in "abc":
        async with staging.append(name, 0, limit=NO_LIMIT) as writer:
            await writer.write(name.encode())
    for name in "cba":
        async with staging.append(name, 1, limit=NO_LIMIT) as writer:
            assert (await writer.finish()).sha256 == sha256(name.encode())
    assert rehashed == ["read"]


@pytest.mark.parametrize("offset", [0, 3, 5, 2**62])
async def test_a_wrong_offset_changes_nothing(staging: Staging, area: Path, offset: int) -> None:
    async with staging.append("u", 0, limit=NO_LIMIT) as writer:
        await writer.write(b"four")
    with pytest.raises(OffsetMismatch) as refusal:
        async with staging.append("u", offset, limit=NO_LIMIT):
            pytest.fail("was let in")
    assert refusal.value.extra == {"offset": 4}
    assert (area / "u.upload").read_bytes() == b"four"
    async with staging.append("u", 4, limit=NO_LIMIT) as writer:
        assert (await writer.finish()).sha256 == sha256(b"four")


async def test_an_upload_whose_file_is_gone_stands_at_nothing(staging: Staging, area: Path) -> None:
    with pytest.raises(OffsetMismatch) as refusal:
        async with staging.append("u", 4, limit=NO_LIMIT):
            pytest.fail("was let in")
    assert refusal.value.extra == {"offset": 0}
    assert names_in(area) == []


@pytest.mark.parametrize(
    "upload_id", ["", ".", "..", "../u", "a/b", "/etc/passwd", "a.b", "ü", "a" * 65, "a\0"]
)
async def test_an_id_is_not_a_path(staging: Staging, upload_id: str) -> None:
    with pytest.raises(UploadNotFound):
        async with staging.append(upload_id, 0, limit=NO_LIMIT):
            pytest.fail("was let in")
    with pytest.raises(UploadNotFound):
        await staging.upload_size(upload_id)
    with pytest.raises(UploadNotFound):
        await staging.remove_upload(upload_id)


async def test_what_came_before_the_limit_or_the_break_is_kept(staging: Staging) -> None:
    with pytest.raises(TooLarge):
        async with staging.append("u", 0, limit=10) as writer:
            await writer.write(b"12345")
            await writer.write(b"678901")
    assert await staging.upload_size("u") == 5
    with pytest.raises(ConnectionError):
        async with staging.append("u", 5, limit=10) as writer:
            await writer.write(b"678")
            raise ConnectionError
    assert await staging.upload_size("u") == 8
    async with staging.append("u", 8, limit=10) as writer:
        await writer.write(b"90")
        assert (await writer.finish()).sha256 == sha256(b"1234567890")


@pytest.mark.parametrize("times", [1, 2])
async def test_what_came_before_a_cancellation_is_kept(
    staging: Staging, slow_disk: threading.Event, times: int
) -> None:
    content = sample(2 * MEBIBYTE + 9)

    async def send() -> None:
        async with staging.append("u", 0, limit=NO_LIMIT) as writer:
            await writer.write(content)
            await asyncio.sleep(60)

    before = open_files()
    task = asyncio.create_task(send())
    await until(slow_disk.is_set)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: open_files() == before)
    assert await staging.upload_size("u") == len(content)
    async with staging.append("u", len(content), limit=NO_LIMIT) as writer:
        assert (await writer.finish()).sha256 == sha256(content)


async def test_a_full_disk_keeps_what_fitted(
    staging: Staging, monkeypatch: pytest.MonkeyPatch, rehashed: list[str]
) -> None:
    """Also of a buffer that fitted in part; and nothing that came after is stored behind a hole."""
    content, pwrite, room = sample(4 * MEBIBYTE), os.pwrite, MEBIBYTE + 1000

    def fill(descriptor: int, data: memoryview, at: int) -> int:
        if at >= room:
            raise OSError(errno.ENOSPC, "full")
        return pwrite(descriptor, data[: room - at], at)

    monkeypatch.setattr(os, "pwrite", fill)
    with pytest.raises(InsufficientStorage):
        async with staging.append("u", 0, limit=NO_LIMIT) as writer:
            await writer.write(content)
    monkeypatch.setattr(os, "pwrite", pwrite)
    assert await staging.upload_size("u") == room
    async with staging.append("u", room, limit=NO_LIMIT) as writer:
        await writer.write(content[room:])
        assert (await writer.finish()).sha256 == sha256(content)
    assert rehashed == []


async def test_a_full_disk_is_told_when_the_block_is_left(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever leaves the block without `sync` must not promise an offset that is not there."""

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(InsufficientStorage):
        async with staging.append("u", 0, limit=NO_LIMIT) as writer:
            await writer.write(b"x")


async def test_an_atomic_piece_is_kept_whole_or_not_at_all(
    staging: Staging, area: Path, rehashed: list[str]
) -> None:
    async with staging.append("u", 0, limit=NO_LIMIT, atomic=True) as writer:
        await writer.write(b"one,")
    checksum = hashlib.sha1(usedforsecurity=False)
    with pytest.raises(KeyError):
        async with staging.append("u", 4, limit=NO_LIMIT, atomic=True, also=checksum) as writer:
            await writer.write(bytes(2 * MEBIBYTE))
            await writer.sync()
            assert checksum.digest() == hashlib.sha1(bytes(2 * MEBIBYTE), usedforsecurity=False).digest()
            assert await staging.upload_size("u") == 4
            raise KeyError
    assert await staging.upload_size("u") == 4
    async with staging.append("u", 4, limit=NO_LIMIT) as writer:
        await writer.write(b"two")
        assert (await writer.finish()).sha256 == sha256(b"one,two")
    assert rehashed == []
    assert names_in(area) == ["u.upload"]


async def test_what_was_finished_is_not_taken_back(staging: Staging, tmp_path: Path) -> None:
    """It may be published by then, whatever else fails."""
    with pytest.raises(KeyError):
        async with staging.append("u", 0, limit=NO_LIMIT, atomic=True) as writer:
            await writer.write(b"audio")
            (await writer.finish()).path.rename(tmp_path / "blob")
            raise KeyError
    assert (tmp_path / "blob").read_bytes() == b"audio"


async def test_only_one_writes(staging: Staging, area: Path) -> None:
    other = Staging(area)  # as another process would
    async with staging.append("u", 0, limit=NO_LIMIT) as writer:
        await writer.write(b"mine")
        for rival in (staging, other):
            with pytest.raises(UploadLocked):
                async with rival.append("u", 0, limit=NO_LIMIT) as second:
                    await second.write(b"theirs")
        async with staging.append("v", 0, limit=NO_LIMIT) as elsewhere:
            await elsewhere.write(b"free")
    async with other.append("u", 4, limit=NO_LIMIT) as writer:
        assert (await writer.finish()).sha256 == sha256(b"mine")
    await other.close()


async def test_two_at_one_offset(staging: Staging) -> None:
    async def send(content: bytes) -> bytes | None:
        try:
            async with staging.append("u", 0, limit=NO_LIMIT) as writer:
                await writer.write(content)
                await asyncio.sleep(0.01)
        except (UploadLocked, OffsetMismatch):
            return None
        return content

    (winner,) = [kept for kept in await asyncio.gather(*(send(b"%d" % n * 9) for n in range(5))) if kept]
    async with staging.append("u", 9, limit=NO_LIMIT) as writer:
        assert (await writer.finish()).sha256 == sha256(winner)


async def test_a_newcomer_takes_over(staging: Staging, rehashed: list[str]) -> None:
    writing = asyncio.Event()

    async def hold() -> None:
        async with staging.append("u", 0, limit=NO_LIMIT) as writer:
            await writer.write(b"from a line that went dead, ")
            writing.set()
            await asyncio.sleep(60)

    holder = asyncio.create_task(hold())
    await writing.wait()
    await asyncio.gather(staging.interrupt("u"), staging.interrupt("u"))
    offset = await staging.upload_size("u")
    assert offset == 28
    async with staging.append("u", offset, limit=NO_LIMIT) as writer:
        await writer.write(b"and a new one")
        assert (await writer.finish()).sha256 == sha256(b"from a line that went dead, and a new one")
    with pytest.raises(UploadLocked):
        await holder
    assert rehashed == []
    await staging.interrupt("u")  # nobody is there


async def test_being_cancelled_is_not_being_interrupted(staging: Staging) -> None:
    writing = asyncio.Event()

    async def hold() -> None:
        async with staging.append("u", 0, limit=NO_LIMIT):
            writing.set()
            await asyncio.sleep(60)

    holder = asyncio.create_task(hold())
    await writing.wait()
    holder.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holder
    with pytest.raises(TimeoutError):
        async with staging.append("u", 0, limit=NO_LIMIT):
            raise TimeoutError


async def test_removing_an_upload_ends_its_writer(staging: Staging, area: Path) -> None:
    writing = asyncio.Event()

    async def hold() -> None:
        async with staging.append("u", 0, limit=NO_LIMIT, atomic=True) as writer:
            await writer.write(b"x")
            await writer.sync()
            writing.set()
            await asyncio.sleep(60)

    holder = asyncio.create_task(hold())
    await writing.wait()
    await staging.remove_upload("u")
    assert names_in(area) == []
    with pytest.raises(UploadLocked):
        await holder
    await staging.remove_upload("u")


async def test_a_piece_and_its_folder_are_synced_before_they_are_promised(
    staging: Staging, area: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        synced.append(f"{path.name} {path.stat().st_size if path.is_file() else 'folder'}")

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    monkeypatch.setattr(os, "fsync", spy)
    async with staging.append("u", 0, limit=NO_LIMIT) as writer:
        await writer.write(b"x")
        await writer.sync()
        assert synced == [f"{area.name} folder", "u.upload 1"]


# Processes that are killed

KILLED = """
import asyncio, sys
from pathlib import Path
from mosic.staging import Staging

async def main(area, how):
    staging = Staging(area)
    if how == "receive":
        block = staging.receive(limit=10**9)
    else:
        block = staging.append("u", 4, limit=10**9, atomic=how == "atomic")
    async with block as writer:
        await writer.write(b"new!")
        await writer.sync()
        print("there", flush=True)
        await asyncio.sleep(60)

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def start(area: Path, how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(area), how], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "there\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    with process:
        process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize(("how", "left"), [("append", b"old,new!"), ("atomic", b"old,")])
async def test_an_upload_survives_its_process(staging: Staging, area: Path, how: str, left: bytes) -> None:
    async with staging.append("u", 0, limit=NO_LIMIT) as writer:
        await writer.write(b"old,")
    process = await asyncio.to_thread(start, area, how)
    try:
        with pytest.raises(UploadLocked):
            async with staging.append("u", 4, limit=NO_LIMIT):
                pytest.fail("was let in")
        assert await staging.upload_size("u") == len(left)
    finally:
        kill(process)
    assert await staging.upload_size("u") == len(left)
    async with staging.append("u", len(left), limit=NO_LIMIT) as writer:
        await writer.write(b"end")
        staged = await writer.finish()
        assert staged.path.read_bytes() == left + b"end"
        assert staged.sha256 == sha256(left + b"end")
    assert names_in(area) == ["u.upload"]


async def test_the_sweep_takes_only_what_nobody_writes(staging: Staging, area: Path) -> None:
    async with staging.append("u", 0, limit=NO_LIMIT) as writer:
        await writer.write(b"x")
    process = await asyncio.to_thread(start, area, "receive")
    (received,) = area.glob("*.part")
    long_ago = time.time() - 3600
    try:
        os.utime(received, (long_ago, long_ago))
        assert await staging.sweep() == 0
    finally:
        kill(process)
    os.utime(received)
    assert await staging.sweep() == 0  # so new that it might not be locked yet
    os.utime(received, (long_ago, long_ago))
    os.utime(area / "u.upload", (long_ago, long_ago))
    assert await staging.sweep() == 1
    assert names_in(area) == ["u.upload"]


ENDLESS = """
import asyncio, sys
from pathlib import Path
from mosic.staging import Staging

async def main(area, offset):
    staging = Staging(area)
    piece = 0
    while True:
        async with staging.append("u", offset, limit=10**9, atomic=piece % 2 == 1) as writer:
            await writer.write(b"".join(b"%08d" % n for n in range(offset // 8, offset // 8 + 50_000)))
            offset = await writer.sync()
        piece += 1
        print(offset, flush=True)

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


@pytest.mark.slow
async def test_no_promised_offset_is_lost_by_kill(staging: Staging, area: Path) -> None:
    dice = random.Random(5)
    for _ in range(40):
        at = await staging.upload_size("u")
        at -= at % 8
        if at != await staging.upload_size("u"):
            await staging.remove_upload("u")
            at = 0
        process = subprocess.Popen(
            [sys.executable, "-c", ENDLESS, str(area), str(at)], stdout=subprocess.PIPE, text=True
        )
        await asyncio.sleep(0.15 + dice.random() * 0.2)
        process.kill()
        output, _ = process.communicate()
        promised = int(output.split()[-1]) if output.endswith("\n") else at
        size = await staging.upload_size("u")
        assert size >= promised
        content = (area / "u.upload").read_bytes()[:size] if size else b""
        assert content == b"".join(b"%08d" % n for n in range(size // 8 + 1))[:size]
