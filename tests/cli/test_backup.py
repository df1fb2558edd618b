"""`mosic backup` beside a running service, and `mosic restore` into a folder where nothing ever ran."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.house import KEY, House
from tests.support.sounds import wav


@pytest.fixture
def houses(short_tmp: Path) -> Iterator[tuple[House, House]]:
    made = []
    for name in ("old", "new"):
        folder = short_tmp / f"{name}-{os.urandom(4).hex()}"
        folder.mkdir()
        made.append(House(folder))
    yield made[0], made[1]
    for house in made:
        house.end()


def seen(url: str) -> list[Any]:
    """All that clients see, whatever the port."""
    found = []
    for clip in httpx.get(f"{url}/play", timeout=60).json():
        stream = httpx.get(f"{url}/play/{clip['id']}/stream", headers={"Range": "bytes=1-"}, timeout=60)
        text = re.sub(r"http://[^/\"]+", "", httpx.get(f"{url}/play/{clip['id']}", timeout=60).text)
        found.append((text, stream.headers["etag"], stream.headers["last-modified"], stream.content))
    return found


async def test_backup_and_restore(houses: tuple[House, House]) -> None:
    old, new = houses
    folder = old.folder.with_suffix(".backup")
    service = old.start("serve")
    url = await old.url(service)
    for seed in range(3):
        httpx.post(
            f"{url}/play/upload",
            content=wav(seed=seed),
            headers={"X-API-Key": KEY},
            timeout=60,
        ).raise_for_status()
    clips = httpx.get(f"{url}/play", timeout=60).json()
    assert httpx.get(f"{url}/play/{clips[0]['id']}/stream", timeout=60).status_code == 200
    before = seen(url)

    saved = old.run("backup", str(folder))
    assert (saved.returncode, saved.stdout.count("3 clips with 3 blobs")) == (0, 1), saved.stderr
    restored = new.run("restore", str(folder))
    assert (restored.returncode, restored.stdout[:37]) == (0, "Restored 3 clips with 3 blobs (0.0 MB"), (
        restored.stderr
    )
    url = await new.url(new.start("serve"))
    assert seen(url) == before
    assert httpx.get(f"{url}/play/{clips[0]['id']}", timeout=60).json()["play_count"] == 1
    service.send_signal(signal.SIGTERM)
    service.wait(60)


SLOW = pytest.mark.slow


@SLOW
async def test_the_same_again_is_nothing_new_and_not_taken_back(houses: tuple[House, House]) -> None:
    old, _ = houses
    folder = old.folder.with_suffix(".backup")
    url = await old.url(old.start("serve"))
    httpx.post(f"{url}/play/upload", content=wav(), headers={"X-API-Key": KEY}, timeout=60).raise_for_status()
    before = seen(url)
    assert old.run("backup", str(folder)).returncode == 0
    again = old.run("backup", str(folder))
    assert "; 0 blobs (0.0 MB) were new" in again.stdout
    into_the_same = old.run("restore", str(folder))
    assert into_the_same.returncode == 1
    assert "has 1 clip" in into_the_same.stderr
    assert seen(url) == before


@pytest.mark.parametrize(
    "place", ["media", *(pytest.param(one, marks=SLOW) for one in ("data/backup", "media/a/b", "."))]
)
def test_backup_beside_what_it_saves_only(houses: tuple[House, House], place: str) -> None:
    ended = houses[0].run("backup", place)
    assert ended.returncode == 1
    assert "must not be inside each other" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_backup_beside_the_store(houses: tuple[House, House]) -> None:
    old, _ = houses
    (old.folder / ".env").write_text(f"MOSIC_STORE_URL=file://{old.folder}/st%20ore\n")
    ended = old.run("backup", f"{old.folder}/st ore/backup")
    assert ended.returncode == 1
    assert "MOSIC_STORE_URL must not be inside" in ended.stderr


def test_what_is_no_backup_makes_nothing(houses: tuple[House, House]) -> None:
    _, new = houses
    ended = new.run("restore", "nowhere")
    assert ended.returncode == 1
    assert "not a complete backup" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not new.media.exists()


@pytest.mark.slow
def test_folder_that_cannot_be_written(houses: tuple[House, House]) -> None:
    old, _ = houses
    assert old.run("migrate").returncode == 0
    old.media.mkdir()
    ended = old.run("backup", "/proc/backup")
    assert ended.returncode == 1
    assert re.search(r"^mosic: /proc/backup: .+$", ended.stderr, re.MULTILINE)
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
async def test_a_backup_on_the_disk_of_the_service_leaves_the_reserve(
    houses: tuple[House, House],
) -> None:
    """Else it takes the last room of the database beside it."""
    old, _ = houses
    url = await old.url(old.start("serve"))
    httpx.post(f"{url}/play/upload", content=wav(), headers={"X-API-Key": KEY}, timeout=60).raise_for_status()
    folder = old.folder.with_suffix(".backup")
    assert old.run("backup", str(folder)).returncode == 0
    before = (folder / "manifest.json").read_bytes()
    (old.folder / ".env").write_text(f"MOSIC_DISK_RESERVE_MB={2**40}\n")
    ended = old.run("backup", str(folder))
    assert ended.returncode == 1
    assert "only the reserve is free" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert (folder / "manifest.json").read_bytes() == before
    assert list(folder.rglob("*.part")) == []
