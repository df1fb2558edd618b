"""`mosic audit` and `mosic sweep` as an operator runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.cli.test_commands import mosic
from tests.support.databases import shown
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav
from tests.support.stores import HOUR, key_of


@dataclass
class Ended:
    status: int
    stdout: str
    stderr: str


class Operator:
    """Runs commands beside the service, in this process: only the last test needs one of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def __call__(self, *arguments: str) -> Ended:
        self._capsys.readouterr()
        status = await mosic(*arguments)
        return Ended(status, *self._capsys.readouterr())


@pytest.fixture
async def stage(
    tmp_path: Path,
    database_url: URL,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    logs_restored: None,
) -> AsyncIterator[tuple[Service, Operator]]:
    url = shown(database_url)
    async with running_service(tmp_path / "media", url) as service:
        monkeypatch.chdir(service.settings.media_root)
        monkeypatch.setenv("MOSIC_MEDIA_ROOT", str(service.settings.media_root))
        monkeypatch.setenv("MOSIC_DATA_DIR", str(service.settings.data_dir))
        monkeypatch.setenv("MOSIC_DATABASE_URL_OVERRIDE", url)
        yield service, Operator(capsys)


async def add(service: Service, seed: int) -> str:
    answer = await service.http.post("/play/upload", content=wav(seed=seed), headers=AUTH)
    assert answer.status_code == 201
    return str(answer.json()["id"])


def blob_path(service: Service, clip_id: str) -> Path:
    key = clip_id.replace("-", "")
    return service.settings.media_root / "blobs" / key[-2:] / key


async def test_audit_says_what_is_wrong_and_sweep_mends_what_can_be(stage: tuple[Service, Operator]) -> None:
    service, operator = stage
    whole, gone, corrupt = [await add(service, seed) for seed in range(3)]

    clean = await operator("audit")
    assert (clean.status, clean.stderr) == (0, "")
    size = len(wav())
    assert clean.stdout == f"Read 3 clips, {3 * size} bytes in all: 0 missing, 0 corrupt, 0 orphaned.\n"

    blob_path(service, gone).unlink()
    with blob_path(service, corrupt).open("r+b") as file:
        file.seek(100)
        file.write(b"\xff\xff")
    orphan = key_of(2 * HOUR)
    blob_path(service, orphan).parent.mkdir(exist_ok=True)
    blob_path(service, orphan).write_bytes(b"orphan")

    told = await operator("audit")
    assert told.status == 1
    lines = told.stdout.splitlines()
    assert lines[-1] == f"Read 3 clips, {3 * size} bytes in all: 1 missing, 1 corrupt, 1 orphaned."
    for line, kind, named in zip(
        lines, ("missing", "corrupt", "orphaned"), (gone, corrupt, orphan), strict=False
    ):
        assert line.startswith(kind)
        assert named in line
    assert "Traceback" not in told.stderr

    report = await operator("audit", "--json")
    assert report.status == 1
    assert json.loads(report.stdout) == {
        "clips": 3,
        "bytes": 3 * size,
        "missing": [
            {"blob_key": gone.replace("-", ""), "clip_id": gone, "detail": "the store does not have it"}
        ],
        "corrupt": [
            {
                "blob_key": corrupt.replace("-", ""),
                "clip_id": corrupt,
                "detail": "its bytes are not those that were uploaded",
            }
        ],
        "orphaned": [{"blob_key": orphan, "clip_id": None, "detail": "it belongs to no clip"}],
    }

    assert (
        await operator("sweep", "--grace", str(3 * HOUR))
    ).stdout == "Removed: 0 expired uploads, 0 staged files, 0 orphaned blobs, 0 clips from the trash.\n"
    assert (
        await operator("sweep")
    ).stdout == "Removed: 0 expired uploads, 0 staged files, 1 orphaned blobs, 0 clips from the trash.\n"
    for clip_id in (gone, corrupt):
        assert (await service.http.delete(f"/play/{clip_id}", headers=AUTH)).status_code == 204
    healed = await operator("audit", "--json", "--grace", "0")
    assert healed.status == 0
    assert json.loads(healed.stdout)["clips"] == 1
    assert (await service.http.get(f"/play/{whole}/stream")).content == wav(seed=0)


async def test_a_store_that_is_not_the_databases_own_is_not_emptied(stage: tuple[Service, Operator]) -> None:
    service, operator = stage
    kept = []
    for _ in range(21):
        kept.append(blob_path(service, key_of(2 * HOUR)))
        kept[-1].parent.mkdir(exist_ok=True)
        kept[-1].write_bytes(b"of another database")
    refused = await operator("sweep")
    assert refused.status == 1
    assert "Is this the database that belongs to it?" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert all(path.exists() for path in kept)
    assert (
        await operator("sweep", "--force")
    ).stdout == "Removed: 0 expired uploads, 0 staged files, 21 orphaned blobs, 0 clips from the trash.\n"


async def test_a_store_that_no_other_process_sees(
    stage: tuple[Service, Operator], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, operator = stage
    monkeypatch.setenv("MOSIC_STORE_URL", "memory:")
    for command in ("audit", "sweep"):
        ended = await operator(command)
        assert ended.status == 1
        assert ended.stderr.startswith("mosic: MOSIC_STORE_URL")


async def test_a_grace_period_is_a_number_of_seconds(stage: tuple[Service, Operator]) -> None:
    _, operator = stage
    assert (await operator("sweep", "--grace", "-1")).status == 2
    assert (await operator("sweep", "--grace", "soon")).status == 2


async def test_an_audit_of_nothing_is_no_good_one(stage: tuple[Service, Operator]) -> None:
    service, operator = stage
    for arguments in (("audit",), ("audit", "--json")):
        ended = await operator(*arguments)
        assert ended.status == 1
        assert "nothing to audit" in ended.stderr
    await add(service, 1)
    assert (await operator("audit")).status == 0


@pytest.mark.parametrize(
    "command", ["audit", *(pytest.param(one, marks=pytest.mark.slow) for one in ("backup", "sweep", "demo"))]
)
def test_no_command_makes_a_service(tmp_path: Path, command: str) -> None:
    """As from cron, which starts in another folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOSIC_")}
    ended = subprocess.run(
        [sys.executable, "-m", "mosic", command, *(["saved"] if command == "backup" else [])],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1
    assert "There is no service here: MOSIC_DATA_DIR" in ended.stderr
    assert list(tmp_path.iterdir()) == []
