"""`mosic audit` and `mosic sweep` as an operator runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.conftest import shown
from tests.service import AUTH, Service, running_service
from tests.sounds import wav
from tests.stores import HOUR, key_of


class Operator:
    """Runs commands beside the service."""

    def __init__(self, service: Service, database_url: str) -> None:
        self._environment = {
            **os.environ,
            "MOSIC_MEDIA_ROOT": str(service.settings.media_root),
            "MOSIC_DATA_DIR": str(service.settings.data_dir),
            "MOSIC_DATABASE_URL_OVERRIDE": database_url,
            "MOSIC_PROBE_WORKERS": "1",
        }

    def __call__(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mosic", *arguments],
            env=self._environment | settings,
            cwd=self._environment["MOSIC_MEDIA_ROOT"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
async def stage(tmp_path: Path, database_url: URL) -> AsyncIterator[tuple[Service, Operator]]:
    url = shown(database_url)
    async with running_service(tmp_path / "media", url) as service:
        yield service, Operator(service, url)


async def add(service: Service, seed: int) -> str:
    answer = await service.http.post("/play/upload", content=wav(seed=seed), headers=AUTH)
    assert answer.status_code == 201
    return str(answer.json()["id"])


def blob_path(service: Service, clip_id: str) -> Path:
    key = clip_id.replace("-", "")
    return service.settings.media_root / "blobs" / key[-2:] / key


async def test_audit_says_what_is_wrong_and_sweep_mends_what_can_be(stage: tuple[Service, Operator]) -> None:
    service, mosic = stage
    whole, gone, corrupt = [await add(service, seed) for seed in range(3)]

    clean = mosic("audit")
    assert (clean.returncode, clean.stderr) == (0, "")
    size = len(wav())
    assert clean.stdout == f"Read 3 clips of {3 * size} bytes in all: 0 missing, 0 corrupt, 0 orphaned.\n"

    blob_path(service, gone).unlink()
    with blob_path(service, corrupt).open("r+b") as file:
        file.seek(100)
        file.write(b"\xff\xff")
    orphan = key_of(2 * HOUR)
    blob_path(service, orphan).parent.mkdir(exist_ok=True)
    blob_path(service, orphan).write_bytes(b"orphan")

    told = mosic("audit")
    assert told.returncode == 1
    lines = told.stdout.splitlines()
    assert lines[-1] == f"Read 3 clips of {3 * size} bytes in all: 1 missing, 1 corrupt, 1 orphaned."
    for line, kind, named in zip(
        lines, ("missing", "corrupt", "orphaned"), (gone, corrupt, orphan), strict=False
    ):
        assert line.startswith(kind)
        assert named in line
    assert "Traceback" not in told.stderr

    report = mosic("audit", "--json")
    assert report.returncode == 1
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
                "detail": "has other bytes than were uploaded",
            }
        ],
        "orphaned": [{"blob_key": orphan, "clip_id": None, "detail": "no clip has it"}],
    }

    assert (
        mosic("sweep", "--grace", str(3 * HOUR)).stdout
        == "Removed: 0 expired uploads, 0 staged files, 0 orphaned blobs.\n"
    )
    assert mosic("sweep").stdout == "Removed: 0 expired uploads, 0 staged files, 1 orphaned blobs.\n"
    for clip_id in (gone, corrupt):
        assert (await service.http.delete(f"/play/{clip_id}", headers=AUTH)).status_code == 204
    healed = mosic("audit", "--json", "--grace", "0")
    assert healed.returncode == 0
    assert json.loads(healed.stdout)["clips"] == 1
    assert (await service.http.get(f"/play/{whole}/stream")).content == wav(seed=0)


async def test_a_store_that_is_not_the_databases_own_is_not_emptied(stage: tuple[Service, Operator]) -> None:
    service, mosic = stage
    kept = []
    for _ in range(21):
        kept.append(blob_path(service, key_of(2 * HOUR)))
        kept[-1].parent.mkdir(exist_ok=True)
        kept[-1].write_bytes(b"of another database")
    refused = mosic("sweep")
    assert refused.returncode == 1
    assert "Is this the database that belongs to it?" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert all(path.exists() for path in kept)
    assert (
        mosic("sweep", "--force").stdout == "Removed: 0 expired uploads, 0 staged files, 21 orphaned blobs.\n"
    )


async def test_a_store_that_no_other_process_sees(stage: tuple[Service, Operator]) -> None:
    _, mosic = stage
    for command in ("audit", "sweep"):
        ended = mosic(command, MOSIC_STORE_URL="memory:")
        assert ended.returncode == 1
        assert ended.stderr.startswith("mosic: MOSIC_STORE_URL")


async def test_a_grace_period_is_a_number_of_seconds(stage: tuple[Service, Operator]) -> None:
    _, mosic = stage
    assert mosic("sweep", "--grace", "-1").returncode == 2
    assert mosic("sweep", "--grace", "soon").returncode == 2
