"""What Mosic asks of a file system, and file systems that do not offer it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from sqlalchemy import URL

from mosic import disk
from mosic.settings import Settings
from mosic.staging import diskfile
from tests.support.databases import shown
from tests.support.service import AUTH, running_service
from tests.support.sounds import wav

CANNOT = [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS]


def refusing(code: int) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return call


@contextmanager
def poor_file_system(monkeypatch: pytest.MonkeyPatch, code: int) -> Iterator[None]:
    """No fsync, no links of either kind, no modes: as CIFS, 9p, FAT or FUSE may be."""
    with monkeypatch.context() as patch:
        for name in ("fsync", "link", "symlink", "chmod", "fchmod"):
            refused = code if name == "fsync" else errno.EPERM
            patch.setattr(os, name, refusing(refused))
        yield


@pytest.mark.parametrize("code", CANNOT)
def test_a_file_system_without_fsync_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "fsync", refusing(code))
    (tmp_path / "made").write_bytes(b"x")
    with (tmp_path / "made").open("rb") as file:
        disk.fsync(file.fileno())
    disk.fsync_folder(tmp_path)
    disk.publish(tmp_path / "made", tmp_path / "published")
    assert [path.name for path in tmp_path.iterdir()] == ["published"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_failed_fsync_is_none_that_cannot_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "fsync", refusing(code))
    (tmp_path / "made").write_bytes(b"x")
    with pytest.raises(OSError, match=os.strerror(code)):
        disk.fsync_folder(tmp_path)
    with pytest.raises(OSError, match=os.strerror(code)):
        disk.publish(tmp_path / "made", tmp_path / "published")
    assert not (tmp_path / "published").exists()
    with pytest.raises(OSError, match=os.strerror(code)):
        disk.make_folder(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()


def test_publishing_never_replaces_unless_it_is_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "published"
    for links in (True, False):
        target.write_bytes(b"old")
        (tmp_path / "made").write_bytes(b"new")
        with monkeypatch.context() as patch:
            if not links:
                patch.setattr(os, "link", refusing(errno.EPERM))
            with pytest.raises(FileExistsError):
                disk.publish(tmp_path / "made", target)
            assert target.read_bytes() == b"old"
            disk.publish(tmp_path / "made", target, replace=True)
            assert target.read_bytes() == b"new"


def test_what_is_missing_is_said_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with structlog.testing.capture_logs() as logs:
        disk.check_file_system(tmp_path, "MOSIC_MEDIA_ROOT")
    assert logs == []
    with poor_file_system(monkeypatch, errno.EINVAL), structlog.testing.capture_logs() as logs:
        disk.check_file_system(tmp_path, "MOSIC_MEDIA_ROOT")
    ((said),) = logs
    assert said["setting"] == "MOSIC_MEDIA_ROOT"
    assert len(said["lacks"]) == 3
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_locked_end_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "flock", refusing(errno.ENOLCK))
    with pytest.raises(OSError, match=os.strerror(errno.ENOLCK)):
        disk.check_file_system(tmp_path, "MOSIC_MEDIA_ROOT")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", CANNOT)
async def test_a_service_on_a_poor_file_system(
    tmp_path: Path, database_url: URL, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    content, other = wav(2, seed=1), wav(2, seed=2)
    with poor_file_system(monkeypatch, code):
        async with running_service(tmp_path / "media", shown(database_url), disk_floor_mb=0) as service:
            assert (await service.http.get("/ready")).status_code == 200
            form = await service.http.post("/play/upload", files={"file": ("a.wav", content)}, headers=AUTH)
            tus = {**AUTH, "Tus-Resumable": "1.0.0"}
            made = await service.http.post("/play/uploads", headers={**tus, "Upload-Length": str(len(other))})
            resumed = made
            for start in range(0, len(other), 10_000):
                resumed = await service.http.patch(
                    made.headers["Location"],
                    content=other[start : start + 10_000],
                    headers={
                        **tus,
                        "Content-Type": "application/offset+octet-stream",
                        "Upload-Offset": str(start),
                    },
                )
                assert resumed.status_code == 204
            for where, sent in (
                (form.headers["Location"], content),
                (resumed.headers["Content-Location"], other),
            ):
                assert (await service.http.get(f"{where}/stream")).content == sent
                assert (await service.http.delete(where, headers=AUTH)).status_code == 204
            assert [path for path in service.files() if "data" not in path.parts] == []


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        disk.make_folder(tmp_path / "a" / "b", 0o750)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o750


def test_only_one_holds_a_lock(tmp_path: Path) -> None:
    with disk.locked(tmp_path), pytest.raises(BlockingIOError), disk.locked(tmp_path):
        pytest.fail("was let in")


def test_nothing_else_syncs() -> None:
    """What a failed fsync means is decided in one place."""
    source = Path(diskfile.__file__).parents[1]
    found = [path.name for path in source.rglob("*.py") if "os.fsync" in path.read_text("utf-8")]
    assert found == ["disk.py"]


@pytest.mark.parametrize(("given", "file", "folder"), [(None, 0o640, 0o750), ("0644", 0o644, 0o755)])
@pytest.mark.parametrize("umask", [0o000, 0o077])
async def test_modes_of_media_files(
    tmp_path: Path, database_url: URL, given: str | None, file: int, folder: int, umask: int
) -> None:
    media = tmp_path / "media"
    # As an earlier version has left them.
    (media / "blobs").mkdir(parents=True)
    (media / "blobs").chmod(0o711)
    before = os.umask(umask)
    settings = {} if given is None else {"media_file_mode": given}
    try:
        async with running_service(media, shown(database_url), **settings) as service:
            made = await service.http.post("/play/upload", content=wav(seed=1), headers=AUTH)
            assert made.status_code == 201
            tus = {**AUTH, "Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
            content = wav(seed=2)
            resumed = await service.http.post(
                "/play/uploads", content=content, headers={**tus, "Upload-Length": str(len(content))}
            )
            assert resumed.status_code == 201
    finally:
        os.umask(before)
    blobs = list((media / "blobs").glob("??/*"))
    assert len(blobs) == 2
    for blob in blobs:
        assert stat.S_IMODE(blob.stat().st_mode) == file
        assert stat.S_IMODE(blob.parent.stat().st_mode) == folder
    assert stat.S_IMODE((media / ".staging").stat().st_mode) == folder
    assert stat.S_IMODE((media / "blobs").stat().st_mode) == 0o711


@pytest.mark.parametrize("mode", ["640x", "0777", "0", "0246", "rw-r-----"])
def test_modes_that_are_none(mode: str) -> None:
    with pytest.raises(ValueError, match="mode"):
        Settings(_env_file=None, media_file_mode=mode)
