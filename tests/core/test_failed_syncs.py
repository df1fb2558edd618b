"""A disk that loses what it could not write: after a failed fsync the next one succeeds, and the bytes are
gone. No offset is promised that is not on the disk, and no clip has other bytes than were sent.

Once with a layer that forgets as the kernel does, at each step of an upload; once on a real block device
that takes no more.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support.databases import shown
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav
from tests.support.stores import Open, key_of, keys_in

TUS = {**AUTH, "Tus-Resumable": "1.0.0"}
PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}
MEBIBYTE = 1024 * 1024


@pytest.fixture
def service(own_service: Service) -> Service:
    """One for each test, to break."""
    return own_service


class ForgetfulDisk:
    """Fails at the call numbered `failing` of `call`, and then works again. What the files below `root` had
    got since they were last synced is lost when an fsync fails, though their size stays."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int) -> None:
        self._root, self._call, self._code = root, call, code
        self.failing = self.calls = 0
        self.synced: dict[int, int] = {}
        self._fsync, self._pwrite = os.fsync, os.pwrite
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "pwrite", self.pwrite)

    def _fails(self, call: str, descriptor: int) -> bool:
        if call != self._call or not os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(self._root)):
            return False
        self.calls += 1
        return self.calls == self.failing

    def fsync(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        before = self.synced.get(status.st_ino, 0)
        if self._fails("fsync", descriptor):
            if status.st_size > before and not os.path.isdir(f"/proc/self/fd/{descriptor}"):
                with open(f"/proc/self/fd/{descriptor}", "r+b") as again:
                    again.seek(before)
                    again.write(bytes(status.st_size - before))
            raise OSError(self._code, os.strerror(self._code))
        self._fsync(descriptor)
        self.synced[status.st_ino] = status.st_size

    def pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        if self._fails("pwrite", descriptor):
            raise OSError(self._code, os.strerror(self._code))
        return self._pwrite(descriptor, data, offset)


async def head(service: Service, location: str) -> int:
    answer = await service.http.head(location, headers=TUS)
    assert answer.status_code == 200, answer.headers
    return int(answer.headers["Upload-Offset"])


async def send_all(service: Service, content: bytes, *, checksums: bool, promised: Any) -> httpx.Response:
    """As a client of tus does: in pieces, and from what HEAD says after each failure. `promised` looks at
    each offset."""
    creation = await service.http.post(
        "/play/uploads", headers={**TUS, "Upload-Length": str(len(content)), "Upload-Metadata": "title YQ=="}
    )
    if creation.status_code != 201:
        assert creation.status_code in (503, 507)
        return await send_all(service, content, checksums=checksums, promised=promised)
    location, offset = creation.headers["Location"], 0
    for _ in range(40):
        piece = content[offset : offset + 1 + len(content) // 4]
        headers = {**PATCH, "Upload-Offset": str(offset)}
        if checksums:
            digest = base64.b64encode(hashlib.sha1(piece, usedforsecurity=False).digest()).decode()
            headers["Upload-Checksum"] = f"sha1 {digest}"
        answer = await service.http.patch(location, content=piece, headers=headers)
        assert answer.status_code in (204, 503, 507), answer.text
        if answer.status_code == 204:
            offset = int(answer.headers["Upload-Offset"])
        else:
            offset = await head(service, location)
        promised(offset)
        if answer.status_code == 204 and offset == len(content):
            return answer
    pytest.fail("the upload does not come to its end")


async def stored(service: Service, path: str) -> bytes:
    return (await service.http.get(f"{path}/stream")).content


@pytest.mark.parametrize("checksums", [False, True])
@pytest.mark.parametrize(
    ("call", "code"), [("fsync", errno.EIO), ("fsync", errno.ENOSPC), ("pwrite", errno.EIO)]
)
async def test_a_resumable_upload_on_a_forgetful_disk(
    service: Service, monkeypatch: pytest.MonkeyPatch, call: str, code: int, checksums: bool
) -> None:
    disk = ForgetfulDisk(service.settings.media_root, monkeypatch, call, code)
    staging = service.settings.media_root / ".staging"
    content = b""

    def promised(offset: int) -> None:
        for path in staging.glob("*.upload"):
            assert offset <= disk.synced.get(path.stat().st_ino, 0)

    for step in range(1, 60):
        content = wav(8, seed=step)
        disk.calls, disk.failing = 0, step
        answer = await send_all(service, content, checksums=checksums, promised=promised)
        assert await stored(service, answer.headers["Content-Location"]) == content
        if disk.calls < step:
            break
    assert 4 < step < 59
    assert not [path for path in staging.iterdir() if path.suffix != ".upload"]


async def test_an_upload_in_one_piece_on_a_forgetful_disk(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = ForgetfulDisk(service.settings.media_root, monkeypatch, "fsync", errno.EIO)
    for step in range(1, 30):
        content = wav(8, seed=step)
        disk.calls, disk.failing = 0, step
        answer = await service.http.post("/play/upload", content=content, headers=AUTH)
        if answer.status_code == 201:
            assert await stored(service, answer.headers["Location"]) == content
            break
        assert answer.status_code == 503
        assert (await service.http.get("/play")).json() == []
        assert service.files() == []
        again = await service.http.post("/play/upload", content=content, headers=AUTH)
        assert await stored(service, again.headers["Location"]) == content
        await service.http.delete(again.headers["Location"], headers=AUTH)
    assert 2 < step < 29


async def test_bytes_that_a_killed_process_left_unsynced(
    service: Service, database_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has asked for them to be on the disk: the first who looks does, and hears that they are not."""
    disk = ForgetfulDisk(service.settings.media_root, monkeypatch, "fsync", errno.EIO)
    content = wav(8)
    creation = await service.http.post("/play/uploads", headers={**TUS, "Upload-Length": str(len(content))})
    location = creation.headers["Location"]
    first = await service.http.patch(
        location, content=content[:1000], headers={**PATCH, "Upload-Offset": "0"}
    )
    assert first.status_code == 204
    (path,) = (service.settings.media_root / ".staging").glob("*.upload")
    with path.open("ab") as file:
        file.write(content[1000:2000])
    # As whoever takes the turn to write leaves it.
    engine = create_async_engine(database_url)
    async with engine.begin() as connection:
        await connection.execute(sa.text("UPDATE uploads SET rest_counts = true"))
    await engine.dispose()
    disk.calls, disk.failing = 0, 1
    assert await head(service, location) == 1000
    assert await head(service, location) == 1000
    rest = await service.http.patch(
        location, content=content[1000:], headers={**PATCH, "Upload-Offset": "1000"}
    )
    assert rest.status_code == 204
    assert await stored(service, rest.headers["Content-Location"]) == content


async def test_a_blob_whose_name_cannot_be_synced_is_not_there(
    open_rt: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody may take it for one that was published: a restore would."""
    async with open_rt() as rt:
        fsync = os.fsync
        for step in (1, 2):
            calls = 0

            def failing(descriptor: int, step: int = step) -> None:
                nonlocal calls
                calls += 1
                if calls == step:
                    raise OSError(errno.EIO, "the disk fails")
                fsync(descriptor)

            path = rt.settings.media_root / ".staging" / "made"
            path.write_bytes(b"audio")
            monkeypatch.setattr(os, "fsync", failing)
            with pytest.raises(Exception, match="cannot be used"):
                await rt.blobs.put(key_of(step), path)
            monkeypatch.setattr(os, "fsync", fsync)
            assert await keys_in(rt.blobs) == set()


@contextmanager
def failing_device(folder: Path) -> Iterator[tuple[Path, Any]]:
    """An ext4 on a loop device whose backing file lies on a disk that is too small for it: blocks that were
    never written before cannot be written, until there is room. Gives its mount point, and what
    mounts it anew.
    """
    backing, mounted = folder / "backing", folder / "mounted"
    backing.mkdir()
    mounted.mkdir()

    def run(*command: str | Path) -> bool:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    image = backing / "image"
    if os.geteuid() != 0 or not run("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", backing):
        pytest.skip("needs to mount a tmpfs")
    try:
        with image.open("wb") as file:
            file.truncate(96 * MEBIBYTE)
        # All that is not the content of files is written at once, the journal too.
        if not run(
            "mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", "-J", "size=4", image
        ):
            pytest.skip("needs mkfs.ext4")
        if not run("mount", "-o", "loop,nodiscard,errors=continue", image, mounted):
            pytest.skip("needs a loop device")
        try:

            def remount() -> None:
                """With room, as after a restart of the machine: what only the kernel had is forgotten."""
                assert run("umount", mounted)
                assert run("mount", "-o", "remount,size=128m", backing)
                assert run("mount", "-o", "loop,nodiscard", image, mounted)

            yield mounted, remount
        finally:
            run("umount", mounted)
    finally:
        run("umount", backing)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[tuple[Path, Any]]:
    with failing_device(tmp_path) as found:
        yield found


async def test_a_block_device_that_takes_no_more(device: tuple[Path, Any], database_url: URL) -> None:
    mounted, remount = device
    media, content = mounted / "media", wav(30, rate=500_000)
    assert len(content) > 28 * MEBIBYTE
    async with running_service(media, shown(database_url)) as service:
        length = {"Upload-Length": str(len(content))}
        creation = await service.http.post("/play/uploads", headers={**TUS, **length})
        location = urlsplit(creation.headers["Location"]).path  # the port will be another
        offset = failed = 0
        while offset < len(content) and failed < 3:
            piece = content[offset : offset + 4 * MEBIBYTE]
            headers = {**PATCH, "Upload-Offset": str(offset)}
            answer = await service.http.patch(location, content=piece, headers=headers)
            failed += answer.status_code != 204
            offset = await head(service, location)
        assert failed == 3
        assert 0 < offset < len(content)
    remount()
    (path,) = (media / ".staging").glob("*.upload")
    with path.open("rb") as file:
        assert file.read(offset) == content[:offset]
    async with running_service(media, shown(database_url)) as service:
        assert await head(service, location) == offset
        headers = {**PATCH, "Upload-Offset": str(offset)}
        answer = await service.http.patch(location, content=content[offset:], headers=headers)
        assert answer.status_code == 204, answer.text
        assert await stored(service, answer.headers["Content-Location"]) == content
