"""Store and database know each other: which pairs start, and which are refused before anything is touched."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from mosic.blobs.identity import IDENTITY_NAME
from mosic.boot import open_runtime, open_storage
from mosic.core import identity
from mosic.core.places import store_place
from mosic.core.sweep import SweepRefused, Swept, sweep
from mosic.db import identity as rows
from mosic.errors import StartupError
from mosic.metrics import Metrics
from mosic.settings import Settings
from tests.support.databases import shown
from tests.support.sounds import wav
from tests.support.stores import HOUR, key_of, keys_in, put, upload

URLS = tuple[str, str]


@pytest.fixture
async def urls(own_database_url: URL, empty_database_url: URL) -> URLS:
    """Two databases."""
    return shown(own_database_url), shown(empty_database_url)


def settings(url: str, media: Path, **others: Any) -> Settings:
    given: dict[str, Any] = {"data_dir": media.parent / "data", "api_key": "k" * 30, "probe_workers": 1}
    return Settings(
        _env_file=None, media_root=media, database_url_override=url, db_pool_size=2, **given | others
    )


async def start(url: str, media: Path, *, clips: int = 0, orphans: int = 0, **others: Any) -> set[str]:
    """What the store holds at the end of a start of a service, in which so many were added."""
    async with open_runtime(settings(url, media, **others), Metrics()) as rt:
        for seed in range(clips):
            await upload(rt, wav(seed=seed))
        for _ in range(orphans):
            await put(rt, key_of(2 * HOUR))
        return await keys_in(rt.blobs)


async def as_before_identities(url: str, media: Path) -> None:
    (media / IDENTITY_NAME).unlink()
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.begin() as connection:
        await connection.execute(sa.text("DELETE FROM service"))
    await engine.dispose()


async def test_a_new_pair_starts_and_stays_one(urls: URLS, tmp_path: Path) -> None:
    media = tmp_path / "media"
    blobs = await start(urls[0], media, clips=2)
    said = (media / IDENTITY_NAME).read_bytes()
    assert await start(urls[0], media) == blobs
    assert (media / IDENTITY_NAME).read_bytes() == said
    assert json.loads(said)["format"] == 1


async def test_two_databases_on_one_store(urls: URLS, tmp_path: Path) -> None:
    media = tmp_path / "media"
    blobs = await start(urls[0], media, clips=3)
    with pytest.raises(StartupError, match=r"MOSIC_MEDIA_ROOT .* is the store of another database"):
        await start(urls[1], media)
    assert await start(urls[0], media) == blobs


async def test_two_databases_on_one_store_that_is_still_empty(urls: URLS, tmp_path: Path) -> None:
    media = tmp_path / "media"
    outcomes = await asyncio.gather(*(start(url, media) for url in urls), return_exceptions=True)
    assert sorted(isinstance(outcome, StartupError) for outcome in outcomes) == [False, True]


@pytest.mark.parametrize("clips", [0, 2])
async def test_a_disk_that_is_not_mounted(urls: URLS, tmp_path: Path, clips: int) -> None:
    """Also without a clip yet: two replicas with two folders would begin so."""
    media = tmp_path / "media"
    await start(urls[0], media, clips=clips)
    media.rename(tmp_path / "unmounted")
    media.mkdir()
    for _ in range(2):
        with pytest.raises(StartupError, match="is its disk mounted"):
            await start(urls[0], media)
    shutil.rmtree(media)
    (tmp_path / "unmounted").rename(media)
    assert len(await start(urls[0], media)) == clips


async def test_a_pair_from_before(urls: URLS, tmp_path: Path) -> None:
    media = tmp_path / "media"
    blobs = await start(urls[0], media, clips=3)
    await as_before_identities(urls[0], media)
    assert await start(urls[0], media) == blobs
    assert (media / IDENTITY_NAME).exists()


async def test_an_upgrade_while_the_disk_is_not_mounted(urls: URLS, tmp_path: Path) -> None:
    media = tmp_path / "media"
    await start(urls[0], media, clips=3)
    await as_before_identities(urls[0], media)
    shutil.move(media / "blobs", tmp_path / "unmounted")
    with pytest.raises(StartupError, match="holds 0 of the 3 blobs"):
        await start(urls[0], media)
    assert not (media / IDENTITY_NAME).exists()


@pytest.mark.parametrize("database", [0, 1], ids=["its own", "another"])
async def test_an_old_store_with_unknown_blobs(urls: URLS, tmp_path: Path, database: int) -> None:
    media = tmp_path / "media"
    blobs = await start(urls[0], media, clips=3, orphans=1)
    await as_before_identities(urls[0], media)
    with pytest.raises(StartupError, match=r"does not know .* `mosic adopt-store`"):
        await start(urls[database], media)
    async with open_storage(settings(urls[0], media)) as held:
        assert await keys_in(held.blobs) == blobs
        found = await identity.look(held.engine, held.blobs)
        assert (found.held, found.wanted, found.unknown) == (3, 3, 1)
        await identity.adopt(held.engine, held.blobs)
    assert await start(urls[0], media) == blobs


async def test_who_had_the_store_before_notices(urls: URLS, tmp_path: Path) -> None:
    """Also while it runs: it sweeps no more, and is not ready."""
    media = tmp_path / "media"
    await start(urls[1], tmp_path / "other")
    async with open_runtime(settings(urls[0], media), Metrics()) as rt:
        orphan = await put(rt, key_of(2 * HOUR))
        async with open_storage(settings(urls[1], media)) as held:
            await identity.adopt(held.engine, held.blobs)
        with pytest.raises(SweepRefused, match="belongs to another database"):
            await sweep(rt, grace_seconds=0, force=True)
        assert await keys_in(rt.blobs) == {orphan}
    with pytest.raises(StartupError, match="another database"):
        await start(urls[0], media)
    assert await start(urls[1], media) == {orphan}


async def test_a_disk_that_goes_while_the_service_runs(urls: URLS, tmp_path: Path) -> None:
    media = tmp_path / "media"
    async with open_runtime(settings(urls[0], media), Metrics()) as rt:
        (media / IDENTITY_NAME).rename(tmp_path / "unmounted")
        with pytest.raises(SweepRefused, match="is its disk mounted"):
            await sweep(rt, grace_seconds=0)
        (tmp_path / "unmounted").rename(media / IDENTITY_NAME)
        assert await sweep(rt, grace_seconds=0) == Swept()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"format": 1, "id": 5}', b"\xff\xfe", b"[" * 4000, b" " * 100_000]
)
async def test_a_damaged_identity(urls: URLS, tmp_path: Path, content: bytes) -> None:
    media = tmp_path / "media"
    await start(urls[0], media)
    (media / IDENTITY_NAME).write_bytes(content)
    with pytest.raises(StartupError, match="damaged"):
        await start(urls[0], media)
    assert (media / IDENTITY_NAME).read_bytes() == content


@pytest.mark.parametrize("made", ["pipe", "link", "folder"])
async def test_something_else_in_its_place(urls: URLS, tmp_path: Path, made: str) -> None:
    media = tmp_path / "media"
    media.mkdir()
    place = media / IDENTITY_NAME
    if made == "pipe":
        os.mkfifo(place)
    elif made == "link":
        place.symlink_to("/dev/zero")
    else:
        place.mkdir()
    with pytest.raises(StartupError, match="damaged"):
        await asyncio.wait_for(start(urls[0], media), 60)


async def test_many_processes_start_at_once(urls: URLS, tmp_path: Path) -> None:
    media = tmp_path / "media"
    async with open_storage(settings(urls[0], media)) as held:
        await asyncio.gather(
            *(
                identity.settle(held.engine, held.blobs, store_place(settings(urls[0], media)))
                for _ in range(5)
            )
        )
        assert await identity.is_own(held.engine, held.blobs)


@pytest.mark.parametrize("step", ["proposed", "written"])
async def test_a_start_that_was_killed_goes_on(
    urls: URLS, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = tmp_path / "media"

    async def killed(*_: object) -> None:
        raise KeyError("killed")

    module, name = (identity, "_identify") if step == "proposed" else (rows, "note_adoption")
    monkeypatch.setattr(module, name, killed)
    with pytest.raises(KeyError):
        await start(urls[0], media)
    monkeypatch.undo()
    assert (media / IDENTITY_NAME).exists() == (step == "written")
    for _ in range(2):
        await start(urls[0], media)
    with pytest.raises(StartupError):
        await start(urls[1], media)


async def test_memory_is_nobodys_own(urls: URLS, tmp_path: Path) -> None:
    media = tmp_path / "media"
    for clips in (1, 0):
        assert len(await start(urls[1], media, store_url="memory:", clips=clips)) == clips
    await start(urls[0], media)
    with pytest.raises(StartupError, match="MOSIC_STORE_URL"):
        await start(urls[0], media, store_url="memory:")
