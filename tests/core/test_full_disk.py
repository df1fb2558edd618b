"""A disk that is full, or fails, at any one step of an upload: 507 or 503, and nothing of it stays."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import URL

from mosic import disk
from mosic.core import room
from mosic.core.runtime import Runtime
from mosic.errors import InsufficientStorage, MosicError, Unavailable
from mosic.settings import Settings
from tests.support.databases import shown
from tests.support.house import KEY, House
from tests.support.service import AUTH, running_service
from tests.support.sounds import wav
from tests.support.stores import keys_in, known_keys, upload


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, InsufficientStorage),
        (errno.EDQUOT, InsufficientStorage),
        (errno.EIO, Unavailable),
        (errno.EROFS, Unavailable),
    ],
)
async def test_a_disk_that_is_full_or_fails_at_any_step(
    rt: Runtime, monkeypatch: pytest.MonkeyPatch, number: int, error: type[MosicError]
) -> None:
    left = 0

    def failing(name: str) -> None:
        call = getattr(os, name)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise OSError(number, os.strerror(number))
            return call(*arguments, **options)

        monkeypatch.setattr(os, name, wrapped)

    for name in ("fsync", "link", "mkdir", "pwrite"):
        failing(name)
    for step in range(1, 100):
        left = step
        try:
            await upload(rt, wav(seed=step))
        except error:
            assert await known_keys(rt) == set() == await keys_in(rt.blobs)
            assert list((rt.settings.media_root / ".staging").iterdir()) == []
        else:
            break
    assert 4 < step < 99
    assert len(await known_keys(rt)) == 1
    assert await keys_in(rt.blobs) == await known_keys(rt)


@pytest.mark.parametrize("limit", ["size=6m", "nr_inodes=40"])
async def test_a_small_disk_that_uploads_fill(tmp_path: Path, database_url: URL, limit: str) -> None:
    media = tmp_path / "media"
    media.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", limit, "tmpfs", str(media)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs to mount a tmpfs")
    try:
        async with running_service(media, shown(database_url)) as service:
            contents = {
                hashlib.sha256(content).hexdigest(): content
                for content in (wav(0.1 if "inodes" in limit else 30, seed=seed) for seed in range(60))
            }
            waiting = list(contents.values())
            answers: list[httpx.Response] = []

            async def client() -> None:
                while waiting:
                    content = waiting.pop()
                    answers.append(await service.http.post("/play/upload", content=content, headers=AUTH))

            await asyncio.gather(*(client() for _ in range(4)))
            assert {answer.status_code for answer in answers} == {201, 507}
            listed = (await service.http.get("/play?limit=100")).json()
            kept = {answer.json()["id"] for answer in answers if answer.status_code == 201}
            assert {clip["id"] for clip in listed} == kept
            for clip in listed:
                stream = await service.http.get(f"/play/{clip['id']}/stream")
                assert stream.content == contents[clip["sha256"]]
            assert len(service.files()) == len(kept)
            for clip_id in list(kept)[:5]:
                assert (await service.http.delete(f"/play/{clip_id}", headers=AUTH)).status_code == 204
            again = await service.http.post("/play/upload", content=wav(1, seed=99), headers=AUTH)
            assert again.status_code == 201
    finally:
        subprocess.run(["umount", "-l", str(media)], check=True)


# Database and media on one small disk

MEBIBYTE = 1024 * 1024
RESERVE = 64 * MEBIBYTE
HEADERS = {"X-API-Key": KEY}
TUS = {**HEADERS, "Tus-Resumable": "1.0.0"}
PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def small_disk() -> Iterator[Path]:
    # Where the account of the database can come: not below the folders of pytest.
    folder = Path(tempfile.mkdtemp(prefix="mosic-disk-"))
    folder.chmod(0o755)
    mount = ["mount", "-t", "tmpfs", "-o", "size=200m,mode=0755", "tmpfs", str(folder)]
    try:
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            pytest.skip("needs to mount a tmpfs")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
    finally:
        folder.rmdir()


@pytest.fixture
def house(small_disk: Path) -> Iterator[House]:
    house = House(small_disk, MOSIC_TRASH_DAYS="0")
    yield house
    house.end()


async def endless(url: str, method: str, target: str, *fields: str, before: bytes = b"") -> int:
    """The status of a request whose body of unknown length would fill the disk. The answer comes before its
    end, and is read while it is sent."""
    where = httpx.URL(url)
    reader, writer = await asyncio.open_connection("127.0.0.1", where.port)
    head = [f"{method} {target} HTTP/1.1", "Host: localhost", f"X-API-Key: {KEY}", *fields]
    writer.write("\r\n".join([*head, "Transfer-Encoding: chunked", "", ""]).encode())
    answered = asyncio.create_task(reader.readline())
    first = before + wav(0.1)[:44]
    with suppress(ConnectionError):
        writer.write(b"%x\r\n%b\r\n" % (len(first), first))
        while not answered.done():
            writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0)
    status = int((await answered).split()[1])
    writer.close()
    return status


def free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


@pytest.mark.slow
async def test_uploads_leave_the_database_its_room(house: House) -> None:
    service = house.start("serve")
    url = await house.url(service)
    async with httpx.AsyncClient(base_url=url, timeout=60, headers=HEADERS) as http:
        kept = await http.post("/play/upload", content=wav(1))
        assert kept.status_code == 201
        # Declared: refused before a byte is read.
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        writer.write(
            f"POST /play/upload HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n"
            f"Content-Length: {120 * MEBIBYTE}\r\n\r\n".encode()
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 507 ")
        writer.close()
        promised = await http.post("/play/uploads", headers={**TUS, "Upload-Length": str(120 * MEBIBYTE)})
        assert promised.status_code == 507

        async def raw() -> int:
            return await endless(url, "POST", "/play/upload")

        async def form() -> int:
            part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
            kind = "Content-Type: multipart/form-data; boundary=b"
            return await endless(url, "POST", "/play/upload", kind, before=part)

        async def resumable() -> int:
            made = await http.post("/play/uploads", headers={**TUS, "Upload-Defer-Length": "1"})
            where = made.headers["Location"]
            fields = [f"{name}: {value}" for name, value in PATCH.items() if name != "X-API-Key"]
            ended = await endless(url, "PATCH", httpx.URL(where).path, *fields, "Upload-Offset: 0")
            looked = await http.head(where, headers=TUS)
            assert looked.status_code == 200
            assert (await http.delete(where, headers=TUS)).status_code == 204
            return ended

        lowest = free(house.folder)
        uploads = asyncio.gather(raw(), form(), resumable(), raw(), resumable())
        while not uploads.done():
            lowest = min(lowest, free(house.folder))
            await asyncio.sleep(0.01)
        assert set(await uploads) == {507}
        # Each thread may be just writing one lot; the database has a little of its own to write.
        assert lowest > RESERVE - 24 * MEBIBYTE
        assert (await http.get("/play")).json()[0]["id"] == kept.json()["id"]
        assert (await http.delete(f"/play/{kept.json()['id']}")).status_code == 204
        assert (await http.post("/play/upload", content=wav(1))).status_code == 201


@pytest.mark.slow
async def test_a_start_makes_room_that_the_database_needs(house: House) -> None:
    """Somebody else has filled the disk, and not even the lock file of the database can be written."""
    service = house.start("serve")
    url = await house.url(service)
    async with httpx.AsyncClient(base_url=url, timeout=60, headers=HEADERS) as http:
        kept = (await http.post("/play/upload", content=wav(1))).json()
        uploads = []
        for _ in range(2):
            made = await http.post("/play/uploads", headers={**TUS, "Upload-Length": "20000000"})
            uploads.append(httpx.URL(made.headers["Location"]).path)
            sent = await http.patch(
                uploads[-1], content=bytes(12_000_000), headers={**PATCH, "Upload-Offset": "0"}
            )
            assert sent.status_code == 204
    os.killpg(service.pid, signal.SIGKILL)
    service.wait()
    if pid := house.postgres():
        os.kill(pid, signal.SIGQUIT)
        while house.postgres():
            await asyncio.sleep(0.05)
    staging = house.media / ".staging"
    (staging / f"{'0' * 32}.part").write_bytes(bytes(MEBIBYTE))  # of a request that was killed
    with (house.folder / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(65536))
    assert free(house.folder) < 65536
    swept = await asyncio.to_thread(house.run, "sweep")
    assert swept.returncode == 0, swept.stdout + swept.stderr
    service = house.start("serve")
    url = await house.url(service)
    async with httpx.AsyncClient(base_url=url, timeout=60, headers=HEADERS) as http:
        stream = await http.get(f"/play/{kept['id']}/stream")
        assert stream.content == wav(1)
        offsets = [(await http.head(path, headers=TUS)).headers["Upload-Offset"] for path in uploads]
        assert set(offsets) <= {"0", "12000000"}
        assert "0" in offsets
        (house.folder / "filler").unlink()
        # An upload whose bytes had to go begins anew.
        path = uploads[offsets.index("0")]
        again = await http.patch(path, content=b"RIFF", headers={**PATCH, "Upload-Offset": "0"})
        assert (again.status_code, again.headers["Upload-Offset"]) == (204, "4")


def test_uploads_of_another_service_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped media root on a full disk."""
    monkeypatch.setattr(disk, "free_bytes", lambda _: 0)
    own, foreign = tmp_path / "own", tmp_path / "foreign"
    for root in (own, foreign):
        root.mkdir()

    def settings(root: Path) -> Settings:
        return Settings(_env_file=None, media_root=root, data_dir=tmp_path)

    assert not room.is_short(settings(own))  # nothing was noted yet
    room.note_media_root(settings(own))
    assert room.is_short(settings(own))
    assert not room.is_short(settings(foreign))
