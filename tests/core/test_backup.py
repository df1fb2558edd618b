"""Backup and restore: everything comes back as it was, whatever happens meanwhile, or nothing does."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import URL

from mosic.archive import Archive, ArchiveError, Manifest
from mosic.blobs.memory import MemoryBlobs
from mosic.boot import Storage, open_runtime, open_storage
from mosic.core import backup as backing_up
from mosic.core import restore as restoring
from mosic.core.catalog import add_external, edit_clip, remove_clip
from mosic.core.places import store_place
from mosic.core.runtime import Runtime
from mosic.core.trash import restore_clip
from mosic.db import blobs as blob_rows
from mosic.db import days, dump, pages, tables
from mosic.db.filters import EVERYTHING
from mosic.db.migrate import head, is_current, migrate, move_to
from mosic.db.sorting import DEFAULT
from mosic.db.tables import metadata
from mosic.metrics import Metrics
from mosic.settings import Settings
from tests.support.databases import shown
from tests.support.sounds import wav
from tests.support.stores import Open, keys_in, put, read_blob, upload


async def backup(rt: Runtime | Storage, folder: Path, *, force: bool = False) -> Manifest:
    archive = Archive(folder)
    with archive.writing():
        return await backing_up.backup(rt.engine, rt.blobs, archive, on_progress=lambda _: None, force=force)


@pytest.fixture
async def rt(open_rt: Open) -> AsyncIterator[Runtime]:
    """Where what is deleted is gone at once: a clip in the trash is like any other to a backup."""
    async with open_rt(trash_days=0) as runtime:
        yield runtime


@pytest.fixture
def empty(tmp_path: Path, empty_database_url: URL) -> Settings:
    """A service that was never started."""
    return Settings(
        media_root=tmp_path / "restored",
        data_dir=tmp_path / "restored-data",
        database_url_override=shown(empty_database_url),
        api_key="k",
        probe_workers=1,
        db_pool_size=4,
        trash_days=0,
    )


async def restore(settings: Settings, folder: Path, *, previous: bool = False) -> Manifest:
    async with open_storage(settings) as held:
        return await restoring.restore(
            held.engine,
            held.blobs,
            held.staging,
            Archive(folder, previous=previous),
            place=store_place(settings),
            on_progress=lambda _: None,
        )


@asynccontextmanager
async def restored(settings: Settings, folder: Path) -> AsyncIterator[Runtime]:
    await restore(settings, folder)
    async with open_runtime(settings, Metrics()) as rt:
        yield rt


async def contents(rt: Runtime) -> dict[str, Any]:
    """All that clients could ever see: every clip with its counters, and its bytes."""
    async with rt.begin() as connection:
        found = (await pages.page(connection, EVERYTHING, DEFAULT, limit=10_000)).clips
        played = {clip.id: await days.daily(connection, clip.id, 30) for clip in found}
    return {clip.id.hex: (clip, clip.etag, await read(rt, clip.blob_key), played[clip.id]) for clip in found}


async def read(rt: Runtime, blob_key: str | None) -> bytes | None:
    return None if blob_key is None else await read_blob(rt.blobs, blob_key)


async def some_clips(rt: Runtime) -> None:
    """Played, edited, with tags that COPY has to escape, and one whose audio is elsewhere."""
    one = await upload(rt, wav(seed=1))
    two = await upload(rt, wav(seed=2))
    await edit_clip(rt, two.id, {"title": "A\tB\\N\nÄ\u2028'\"", "description": "\\.", "genre": ""})
    await edit_clip(rt, two.id, {"external_id": "a\\N\\.", "metadata": {"\\": ["\t", 1.5, None]}})
    for _ in range(3):
        await rt.plays.count(one.id)
    rt.plays.add_bytes(one.id, 12345)
    async with rt.begin() as connection:
        await connection.execute(sa.text("UPDATE clip_plays SET day = day - 3"))
    await rt.plays.count(one.id)
    await rt.plays.count(two.id)
    await upload(rt, wav(seed=3))
    await add_external(
        rt,
        url="https://example.org/a.mp3",
        title="Elsewhere",
        duration=1 / 3,
        tags={"composer": ["Ä", "\\"], "x": []},
        external_id="elsewhere",
        metadata={"Ä": {}},
    )


async def test_comes_back_as_it_was(rt: Runtime, tmp_path: Path, empty: Settings) -> None:
    await some_clips(rt)
    manifest = await backup(rt, tmp_path / "backup")
    saved = await contents(rt)
    assert (manifest.blobs, manifest.damaged) == (3, ())
    async with restored(empty, tmp_path / "backup") as again:
        assert await contents(again) == saved
        assert len(saved) == 4
        # And goes on from there.
        assert (await upload(again, wav(seed=1))).id.hex in saved
        new = await upload(again, wav(seed=4))
        assert new.id.hex not in saved


async def test_the_trash_is_saved_as_well(open_rt: Open, tmp_path: Path, empty: Settings) -> None:
    async with open_rt(trash_days=7) as rt:
        kept, deleted = await upload(rt, wav(seed=1)), await upload(rt, wav(seed=2))
        await remove_clip(rt, deleted.id)
        await backup(rt, tmp_path / "backup")
    async with restored(empty, tmp_path / "backup") as again:
        assert set(await contents(again)) == {kept.id.hex}
        assert (await restore_clip(again, deleted.id)).id == deleted.id
        found = await contents(again)
        assert set(found) == {kept.id.hex, deleted.id.hex}
        assert found[deleted.id.hex][2] == wav(seed=2)


async def test_a_clip_that_goes_to_the_trash_between_listing_and_copying(
    open_rt: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: Settings
) -> None:
    """Its bytes are under another key then."""
    async with open_rt(trash_days=7) as rt:
        clip = await upload(rt, wav(seed=1))
        copy = backing_up._Copying._copy_bytes
        copied: list[str] = []

        async def delete_first(copying: Any, row: Any) -> str | None:
            if not copied:
                await remove_clip(rt, clip.id)
            copied.append(row.key)
            return await copy(copying, row)

        monkeypatch.setattr(backing_up._Copying, "_copy_bytes", delete_first)
        manifest = await backup(rt, tmp_path / "backup")
        assert (manifest.blobs, manifest.damaged) == (1, ())
    async with restored(empty, tmp_path / "backup") as again:
        await restore_clip(again, clip.id)
        assert (await contents(again))[clip.id.hex][2] == wav(seed=1)


def test_every_table_is_saved_or_left_out_on_purpose() -> None:
    """A new table has to be thought of here. One that refers to blobs needs nothing more, but has to say
    which clip each is for."""
    saved = {table.name for table in dump.saved_tables()}
    assert set(metadata.tables) - saved == {"uploads", "swept_blobs", "service"}
    naming_blobs = {
        column
        for table in dump.saved_tables()
        for column in table.columns
        if "blob" in column.name and table is not tables.blobs
    }
    assert all(column.references(tables.blobs.c.key) for column in naming_blobs)
    assert all(column.table is tables.clips or "clip_id" in column.table.c for column in naming_blobs)


async def test_while_clips_come_and_go(rt: Runtime, tmp_path: Path, empty: Settings) -> None:
    """What is restored is the service at one moment: no clip without bytes or with those of another, no
    clip missing that was there before and after, counters as they were then."""
    there = [await upload(rt, wav(seed=seed)) for seed in range(20)]
    kept, deleted = there[:5], there[5:]
    going = True

    async def come_and_go(first_seed: int) -> None:
        seed = first_seed
        while going:
            clip = await upload(rt, wav(seed=seed))
            await asyncio.sleep(random.random() * 0.01)
            if seed % 3:
                await remove_clip(rt, clip.id)
            seed += 1
            if deleted:
                await remove_clip(rt, deleted.pop().id)

    async def play() -> None:
        while going:
            # Always the first before the second.
            await rt.plays.count(kept[0].id)
            await rt.plays.count(kept[1].id)

    workers = [asyncio.create_task(work) for work in (come_and_go(100), come_and_go(1100), play())]
    for _ in range(4):
        await backup(rt, tmp_path / "backup", force=True)
        await asyncio.sleep(0.05)
    manifest = await backup(rt, tmp_path / "backup", force=True)
    going = False
    await asyncio.gather(*workers)
    assert manifest.damaged == ()
    async with restored(empty, tmp_path / "backup") as again:
        found = await contents(again)
        assert {clip.id.hex for clip in kept} <= set(found)
        for clip, _, content, _ in found.values():
            assert hashlib.sha256(content).digest() == clip.sha256
        first, second = (found[clip.id.hex][0].play_count for clip in kept[:2])
        assert second <= first <= second + 1
        assert first
        assert await keys_in(again.blobs) == set(found)


async def test_clip_deleted_between_listing_and_copying(
    rt: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: Settings
) -> None:
    """At the worst moment: it is in the catalogue that stands still, and its bytes are gone."""
    await upload(rt, wav(seed=1))
    late = None
    original = backing_up._Copying.all_in

    async def all_in(self: Any, held: Any) -> Any:
        nonlocal late
        if late is None:
            late = await upload(rt, wav(seed=2))
            # The snapshot is taken by its first statement, which was before this upload: begin anew.
            raise backing_up._Deleted
        if await rt.blobs.stat(late.id.hex):
            rows = await blob_rows.page(held, limit=10, after=None)
            assert late.id in {row.clip_id for row in rows}
            await remove_clip(rt, late.id)
        return await original(self, held)

    monkeypatch.setattr(backing_up._Copying, "all_in", all_in)
    manifest = await backup(rt, tmp_path / "backup")
    assert (manifest.blobs, manifest.damaged) == (1, ())
    async with restored(empty, tmp_path / "backup") as again:
        assert late
        assert late.id.hex not in await contents(again)


async def test_second_backup_copies_only_what_is_new(rt: Runtime, tmp_path: Path, empty: Settings) -> None:
    first, second = await upload(rt, wav(seed=1)), await upload(rt, wav(seed=2))
    folder = tmp_path / "backup"
    await backup(rt, folder)
    files = {path: path.stat().st_mtime_ns for path in folder.glob("blobs/*/*")}
    assert len(files) == 2
    await remove_clip(rt, first.id)
    third = await upload(rt, wav(seed=3))
    await backup(rt, folder, force=True)
    again = {path.name: path for path in folder.glob("blobs/*/*")}
    # What it no longer has stays for one more round.
    assert set(again) == {first.id.hex, second.id.hex, third.id.hex}
    kept = again[second.id.hex]
    assert files[kept] == kept.stat().st_mtime_ns
    await backup(rt, folder)
    assert {path.name for path in folder.glob("blobs/*/*")} == {second.id.hex, third.id.hex}
    assert len(list(folder.glob("catalogue-*"))) == 2
    async with restored(empty, folder) as restored_rt:
        assert await contents(restored_rt) == await contents(rt)


async def test_list_of_blobs_is_one_for_sha256sum(rt: Runtime, tmp_path: Path) -> None:
    await upload(rt, wav(seed=1))
    folder = tmp_path / "backup"
    manifest = await backup(rt, folder)
    command = ["sha256sum", "--check", "--strict", "--quiet", manifest.blob_list.name]
    assert subprocess.run(command, cwd=folder, check=False).returncode == 0
    (blob,) = folder.glob("blobs/*/*")
    blob.write_bytes(b"rotten")
    assert subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 1


async def test_backup_that_fails_leaves_the_last_one(
    rt: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: Settings
) -> None:
    await upload(rt, wav(seed=1))
    folder = tmp_path / "backup"
    await backup(rt, folder)
    saved = await contents(rt)
    await remove_clip(rt, next(iter(saved.values()))[0].id)
    await upload(rt, wav(seed=2))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Archive, "finish", fail)
    with pytest.raises(OSError, match="No space"):
        await backup(rt, folder, force=True)
    monkeypatch.undo()
    async with restored(empty, folder) as again:
        assert await contents(again) == saved


async def test_missing_and_corrupt_bytes_are_told_and_the_rest_is_saved(
    rt: Runtime, tmp_path: Path, empty: Settings
) -> None:
    missing, corrupt, good = [await upload(rt, wav(seed=seed)) for seed in range(3)]
    await rt.blobs.delete(missing.id.hex)
    (path,) = rt.settings.media_root.glob(f"blobs/*/{corrupt.id.hex}")
    path.write_bytes(b"\0" * (corrupt.size or 0))
    manifest = await backup(rt, tmp_path / "backup")
    assert {one.clip_id for one in manifest.damaged} == {str(missing.id), str(corrupt.id)}
    await restore(empty, tmp_path / "backup")
    async with open_runtime(empty, Metrics()) as again:
        assert await keys_in(again.blobs) == {good.id.hex}
        async with again.begin() as connection:
            assert await dump.clips_there(connection) == 3


def overwrite(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change(folder: Path, **members: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | members))


def change_rows(folder: Path) -> None:
    tables = json.loads((folder / "manifest.json").read_text())["tables"]
    tables[-1]["rows"] += 1
    change(folder, tables=tables)


def change_file(folder: Path, name: str) -> None:
    tables = json.loads((folder / "manifest.json").read_text())["tables"]
    tables[0]["file"]["name"] = name
    change(folder, tables=tables)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "half a manifest": lambda folder: (folder / "manifest.json").write_text('{"format": 1'),
    "manifest of another format": lambda folder: change(folder, format=2),
    "rows changed": lambda folder: overwrite(next(folder.glob("catalogue-*/clips.copy"))),
    "rows gone": lambda folder: next(folder.glob("catalogue-*/clip_plays.copy")).unlink(),
    "list changed": lambda folder: overwrite(next(folder.glob("catalogue-*/blobs.sha256"))),
    "blob changed": lambda folder: overwrite(max(folder.glob("blobs/*/*"))),
    "blob shorter": lambda folder: max(folder.glob("blobs/*/*")).write_bytes(b""),
    "blob gone": lambda folder: max(folder.glob("blobs/*/*")).unlink(),
    "another count of rows": change_rows,
    "a name that leads out": lambda folder: change_file(folder, "../../etc/passwd"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
async def test_damaged_backup_restores_nothing(
    rt: Runtime, tmp_path: Path, empty: Settings, damage: Callable[[Path], object]
) -> None:
    for seed in range(3):
        await upload(rt, wav(seed=seed))
    folder = tmp_path / "backup"
    await backup(rt, folder)
    damage(folder)
    with pytest.raises(ArchiveError, match=r"damaged|not a complete backup"):
        await restore(empty, folder)
    async with open_runtime(empty, Metrics()) as untouched:
        assert await contents(untouched) == {}
        assert await keys_in(untouched.blobs) == set()
        assert not [path for path in (empty.media_root / ".staging").rglob("*") if path.is_file()]


async def test_only_into_an_empty_service(rt: Runtime, tmp_path: Path, empty: Settings) -> None:
    await upload(rt, wav(seed=1))
    await backup(rt, tmp_path / "backup")
    async with open_runtime(empty, Metrics()) as other:
        clip = await upload(other, wav(seed=2))
        before = await contents(other)
        with pytest.raises(ArchiveError, match="1 clips"):
            await restore(empty, tmp_path / "backup")
        assert await contents(other) == before
        await remove_clip(other, clip.id)
        stray = await put(other, "5b" * 16)
        with pytest.raises(ArchiveError, match="not of this backup"):
            await restore(empty, tmp_path / "backup")
        assert await keys_in(other.blobs) == {stray}


async def test_restore_goes_on_after_a_kill(
    rt: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: Settings
) -> None:
    for seed in range(3):
        await upload(rt, wav(seed=seed))
    await backup(rt, tmp_path / "backup")

    async def nothing(*_: object) -> None:
        return

    async def killed(*_: object) -> None:
        raise KeyError("killed")

    monkeypatch.setattr(restoring, "_fill", killed)
    monkeypatch.setattr(restoring._Placing, "take_back", nothing)
    with pytest.raises(KeyError):
        await restore(empty, tmp_path / "backup")
    monkeypatch.undo()
    async with restored(empty, tmp_path / "backup") as again:
        assert await contents(again) == await contents(rt)


async def as_of_revision(rt: Runtime, folder: Path, revision: str) -> None:
    """Give the backup of a runtime the rows that it would have at an earlier revision of the tables."""
    manifest = json.loads((folder / "manifest.json").read_text())
    saved = {
        table["table"]: table for table in manifest["tables"] if table["table"] in ("clips", "clip_plays")
    }
    async with rt.engine.connect() as connection:
        transaction = await connection.begin()
        await move_to(connection, revision)
        driver: Any = (await connection.get_raw_connection()).driver_connection
        for name, table in saved.items():
            in_order = (
                "SELECT attname FROM pg_attribute WHERE attrelid = cast(:name AS regclass) AND attnum > 0"
                " AND NOT attisdropped ORDER BY attnum"
            )
            found = await connection.scalars(sa.text(in_order), {"name": name})
            table["columns"] = list(found.all())
            rows = io.BytesIO()
            await driver.copy_from_table(name, columns=table["columns"], output=rows)
            content = rows.getvalue()
            (folder / table["file"]["name"]).write_bytes(content)
            table["file"] |= {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        await transaction.rollback()
    change(folder, revision=revision, tables=list(saved.values()))


@pytest.mark.parametrize("revision", ["0002", "0012"])
async def test_backup_of_an_earlier_version_is_migrated(
    rt: Runtime, tmp_path: Path, empty: Settings, revision: str
) -> None:
    clip = await upload(rt, wav(seed=1))
    folder = tmp_path / "backup"
    await backup(rt, folder)
    await as_of_revision(rt, folder, revision)
    async with open_storage(empty) as held:
        # A service that was started, and never used, with another version than the backup's.
        await migrate(held.engine)
    async with restored(empty, folder) as again:
        assert await is_current(again.engine)
        (found,) = (await contents(again)).values()
        assert found[0].id == clip.id
        assert (found[0].sha256, found[0].size, found[0].media_type) == (
            clip.sha256,
            clip.size,
            clip.media_type,
        )
        assert found[2] == wav(seed=1)


async def test_more_clips_than_the_database_has_locks(rt: Runtime, tmp_path: Path, empty: Settings) -> None:
    """By default 64 for each connection that there may be; the triggers of uploads take one for each clip."""
    count = 30_000
    await upload(rt, wav(seed=1))
    folder = tmp_path / "backup"
    await backup(rt, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    names = {"blobs": ["key"], "clips": ["id", "blob_key"], "clip_plays": ["clip_id"]}
    for table in manifest["tables"]:
        if table["table"] not in names:
            continue
        path = folder / table["file"]["name"]
        fields = dict(zip(table["columns"], path.read_text().rstrip("\n").split("\t"), strict=True))
        with path.open("a") as rows:
            for number in range(1, count):
                made = fields.copy()
                made |= dict.fromkeys(names[table["table"]], f"{number:032x}")
                if table["table"] == "blobs":
                    made["sha256"] = f"\\\\x{number:064x}"
                rows.write("\t".join(made.values()) + "\n")
        table["rows"] = count
        table["file"] |= {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "size": path.stat().st_size,
        }
    keys = [f"{number:032x}" for number in range(1, count)]
    damaged = [{"clip_id": key, "blob_key": key, "detail": "lost"} for key in keys]
    change(folder, tables=manifest["tables"], damaged=damaged)
    async with restored(empty, folder) as again, again.begin() as connection:
        assert await dump.clips_there(connection) == count
        # The restored database guards its blobs as any other does.
        assert await connection.scalar(sa.text("SELECT bool_and(tgenabled = 'O') FROM pg_trigger"))


async def test_what_a_sweep_took_comes_back(rt: Runtime, tmp_path: Path, empty: Settings) -> None:
    """As after a restore that was killed, and a service that was started in between."""
    clip = await upload(rt, wav(seed=1))
    await backup(rt, tmp_path / "backup")
    async with open_runtime(empty, Metrics()) as other, other.begin() as connection:
        assert await blob_rows.mark_swept(connection, [clip.id.hex]) == [clip.id.hex]
    async with restored(empty, tmp_path / "backup") as again:
        assert await contents(again) == await contents(rt)


async def test_backup_of_a_newer_version_is_refused(rt: Runtime, tmp_path: Path, empty: Settings) -> None:
    await backup(rt, tmp_path / "backup")
    change(tmp_path / "backup", revision="9999", made_by="mosic 99")
    with pytest.raises(ArchiveError, match=r"newer version \(mosic 99"):
        await restore(empty, tmp_path / "backup")


async def test_folder_with_something_else_is_left_alone(rt: Runtime, tmp_path: Path) -> None:
    folder = tmp_path / "letters"
    folder.mkdir()
    (folder / "to-anna.txt").write_text("Dear Anna")
    with pytest.raises(ArchiveError, match="something else"):
        await backup(rt, folder)
    assert [path.name for path in folder.iterdir()] == ["to-anna.txt"]


async def test_two_backups_into_one_folder(rt: Runtime, tmp_path: Path) -> None:
    with Archive(tmp_path / "backup").writing(), pytest.raises(ArchiveError, match="under way"):
        await backup(rt, tmp_path / "backup")


async def test_database_of_another_version_is_not_saved(tmp_path: Path, empty: Settings) -> None:
    """A newer mosic must not migrate what an older service is using."""
    async with open_storage(empty) as held:
        with pytest.raises(ArchiveError, match="revision"):
            await backup(held, tmp_path / "backup")
        assert not await is_current(held.engine)
    assert head()


async def test_from_any_store(rt: Runtime, tmp_path: Path, empty: Settings) -> None:
    """Only what the contract of stores promises is used."""
    clip = await upload(rt, wav(seed=1))
    store: Any = rt.blobs

    class OwnBlobs(MemoryBlobs):
        """In memory, and the database's own."""

        read_identity = store.read_identity
        write_identity = store.write_identity

    blobs = OwnBlobs()
    (tmp_path / "copy").write_bytes(wav(seed=1))
    await blobs.put(clip.id.hex, tmp_path / "copy")
    held = Storage(rt.engine, blobs, rt.staging)
    await backup(held, tmp_path / "backup")
    async with restored(empty, tmp_path / "backup") as again:
        assert await contents(again) == await contents(rt)
