"""A backup belongs to one service and loses little of what it has, and a stranger may have written it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mosic.archive import ArchiveError
from mosic.boot import open_runtime
from mosic.core.catalog import remove_clip
from mosic.core.runtime import Runtime
from mosic.metrics import Metrics
from mosic.settings import Settings
from tests.core.test_backup import as_of_revision, backup, change, contents, empty, restore, restored
from tests.support.sounds import wav
from tests.support.stores import Open, keys_in, upload

__all__ = ["empty"]


async def filled(rt: Runtime, folder: Path, count: int) -> list[Any]:
    made = [await upload(rt, wav(seed=seed)) for seed in range(count)]
    await backup(rt, folder)
    return made


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_an_empty_service_does_not_empty_the_backup(rt: Runtime, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    for clip in await filled(rt, folder, 6):
        await remove_clip(rt, clip.id)
    before = files(folder)
    with pytest.raises(ArchiveError, match="would lose 6 of its 6 clips"):
        await backup(rt, folder)
    assert files(folder) == before


@pytest.mark.parametrize(
    ("had", "gone", "kept"), [(10, 1, True), (10, 2, False), (20, 2, True), (5, 1, False)]
)
async def test_no_more_than_a_tenth(rt: Runtime, tmp_path: Path, had: int, gone: int, kept: bool) -> None:
    folder = tmp_path / "backup"
    for clip in (await filled(rt, folder, had))[:gone]:
        await remove_clip(rt, clip.id)
    if kept:
        assert (await backup(rt, folder)).blobs == had - gone
    else:
        with pytest.raises(ArchiveError, match="would lose"):
            await backup(rt, folder)
        assert (await backup(rt, folder, force=True)).blobs == had - gone
    assert len(list(folder.glob("blobs/*/*"))) == had


async def test_other_clips_instead_are_a_loss_too(rt: Runtime, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    for clip in await filled(rt, folder, 3):
        await remove_clip(rt, clip.id)
    for seed in range(100, 103):
        await upload(rt, wav(seed=seed))
    with pytest.raises(ArchiveError, match="3 of its 3 blobs"):
        await backup(rt, folder)


async def test_what_was_lost_can_be_had_back_for_one_more_round(
    rt: Runtime, tmp_path: Path, empty: Settings
) -> None:
    folder = tmp_path / "backup"
    made = await filled(rt, folder, 3)
    saved = await contents(rt)
    for clip in made:
        await remove_clip(rt, clip.id)
    await backup(rt, folder, force=True)
    await restore(empty, folder, previous=True)
    async with open_runtime(empty, Metrics()) as again:
        assert await contents(again) == saved
    await backup(rt, folder)
    assert list(folder.glob("blobs/*/*")) == []


async def test_a_backup_of_another_service(rt: Runtime, tmp_path: Path, empty: Settings) -> None:
    folder = tmp_path / "backup"
    await filled(rt, folder, 1)
    before = files(folder)
    async with open_runtime(empty, Metrics()) as other:
        await upload(other, wav(seed=1))
        for force in (False, True):
            with pytest.raises(ArchiveError, match="another service"):
                await backup(other, folder, force=force)
    assert files(folder) == before


async def test_a_restored_service_saves_to_the_same_folder(
    rt: Runtime, tmp_path: Path, empty: Settings
) -> None:
    await filled(rt, tmp_path / "backup", 2)
    async with restored(empty, tmp_path / "backup") as again:
        await upload(again, wav(seed=9))
        assert (await backup(again, tmp_path / "backup")).blobs == 3


async def test_a_backup_that_lost_its_manifest_keeps_its_blobs(rt: Runtime, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    for clip in await filled(rt, folder, 3):
        await remove_clip(rt, clip.id)
    (folder / "manifest.json").unlink()
    with pytest.raises(ArchiveError, match="3 of its 3 blobs"):
        await backup(rt, folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ArchiveError, match="damaged"):
        await backup(rt, folder)
    assert len(list(folder.glob("blobs/*/*"))) == 3


async def test_links_in_a_backup_lead_nowhere(rt: Runtime, tmp_path: Path) -> None:
    """Neither is anything written there, nor removed."""
    folder, outside = tmp_path / "backup", tmp_path / "outside"
    outside.mkdir()
    (outside / ("0" * 32)).write_text("dear")
    await filled(rt, folder, 1)
    (folder / "blobs" / "00").symlink_to(outside)
    await backup(rt, folder)
    await backup(rt, folder)
    assert (outside / ("0" * 32)).read_text() == "dear"
    assert len(list(outside.iterdir())) == 1


def rewrite(folder: Path, table: str, change_rows: Callable[[str], str], **others: Any) -> None:
    """Rows that agree with their manifest, as whoever writes a backup makes them."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (saved,) = [one for one in manifest["tables"] if one["table"] == table]
    path = folder / saved["file"]["name"]
    path.write_text(change_rows(path.read_text()))
    content = path.read_bytes()
    saved["file"] |= {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    saved["rows"] = content.count(b"\n")
    change(folder, tables=manifest["tables"], **others)


def column(folder: Path, name: str, value: str, table: str = "clips", **others: Any) -> None:
    columns = {
        one["table"]: one["columns"] for one in json.loads((folder / "manifest.json").read_text())["tables"]
    }[table]

    def changed(text: str) -> str:
        rows = [row.split("\t") for row in text.splitlines()]
        rows[0][columns.index(name)] = value
        return "".join("\t".join(row) + "\n" for row in rows)

    rewrite(folder, table, changed, **others)


def twice(rows: str) -> str:
    first = rows.splitlines()[0].split("\t")
    return rows + "\t".join(["5b" * 16, *first[1:]]) + "\n"


def list_of_blobs(folder: Path, change_lines: Callable[[bytes], bytes], **others: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    path = folder / manifest["blob_list"]["name"]
    path.write_bytes(change_lines(path.read_bytes()))
    content = path.read_bytes()
    manifest["blob_list"] |= {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    change(folder, blob_list=manifest["blob_list"], **others)


def instead(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def blob(folder: Path) -> Path:
    return max(folder.glob("blobs/*/*"))


def lie(folder: Path, member: str, value: object) -> None:
    change(folder, **{member: value})


def table(folder: Path, **members: object) -> None:
    tables = json.loads((folder / "manifest.json").read_text())["tables"]
    tables[0] |= members
    change(folder, tables=tables)


def moved_behind_a_link(folder: Path) -> None:
    (folder / "blobs").rename(folder.with_suffix(".elsewhere"))
    (folder / "blobs").symlink_to(folder.with_suffix(".elsewhere"))


STRANGE: dict[str, Callable[[Path], object]] = {
    "a pipe for a manifest": lambda folder: instead(folder / "manifest.json", os.mkfifo),
    "a device for a manifest": lambda folder: instead(
        folder / "manifest.json", lambda path: path.symlink_to("/dev/zero")
    ),
    "a folder for a manifest": lambda folder: instead(folder / "manifest.json", lambda path: path.mkdir()),
    "a manifest without end": lambda folder: (folder / "manifest.json").write_text("[" * 2_000_000),
    "a pipe for a blob": lambda folder: instead(blob(folder), os.mkfifo),
    "a link for a blob": lambda folder: instead(blob(folder), lambda path: path.symlink_to("/dev/zero")),
    "blobs behind a link": moved_behind_a_link,
    "a pipe for rows": lambda folder: instead(next(folder.glob("catalogue-*/clips.copy")), os.mkfifo),
    "a list that is one line": lambda folder: list_of_blobs(folder, lambda _: b"a" * 5_000_000),
    "a list with a path": lambda folder: list_of_blobs(
        folder, lambda lines: lines.replace(b"blobs/", b"../../", 1)
    ),
    "a list with a blob twice": lambda folder: list_of_blobs(folder, lambda lines: lines + lines),
    "a list that is short": lambda folder: list_of_blobs(folder, lambda _: b""),
    "a list of none": lambda folder: list_of_blobs(folder, lambda _: b"", blobs=0),
    "bytes that are no text": lambda folder: list_of_blobs(folder, lambda _: b"\xff\xfe\n"),
    "a negative size": lambda folder: column(folder, "size", "-1", "blobs"),
    "another size": lambda folder: column(folder, "size", "7", "blobs"),
    "another hash": lambda folder: column(folder, "sha256", "\\\\x" + "00" * 32, "blobs"),
    "another blob": lambda folder: column(folder, "blob_key", "5b" * 16),
    "a page": lambda folder: column(folder, "media_type", "text/html", "blobs"),
    "a line break": lambda folder: column(folder, "media_type", "audio/mpeg\\r\\nSet-Cookie: a=b", "blobs"),
    "a table that its revision does not have": lambda folder: change(folder, revision="0006"),
    "a blob of another key": lambda folder: column(folder, "key", "5b" * 16, "blobs"),
    "a key that is a path": lambda folder: column(folder, "key", "../../../../../etc/passwd", "blobs"),
    "the same bytes twice": lambda folder: rewrite(folder, "blobs", twice),
    "a clip without its blob": lambda folder: rewrite(folder, "blobs", lambda _: ""),
    "a media type of a clip besides": lambda folder: column(folder, "media_type", "text/html"),
    "a time that nobody can show": lambda folder: column(folder, "created_at", "200000-01-01 00:00:00+00"),
    "a time without end": lambda folder: column(folder, "updated_at", "infinity"),
    "tags that are none": lambda folder: column(folder, "tags", '{"a": 1}'),
    "a count that cannot grow": lambda folder: column(folder, "play_count", str(2**63 - 1), "clip_plays"),
    "a negative count": lambda folder: column(folder, "play_count", "-1", "clip_plays"),
    "ids that come twice": lambda folder: rewrite(folder, "clips", lambda text: text + text),
    "a clip without counters": lambda folder: rewrite(folder, "clip_plays", lambda _: ""),
    "a table of PostgreSQL's": lambda folder: table(folder, table="pg_authid"),
    "a table of Mosic's that is not saved": lambda folder: table(folder, table="service"),
    "a column that is none": lambda folder: table(folder, columns=["nothing"]),
    "a revision that is a pattern": lambda folder: lie(folder, "revision", "*"),
    "a negative number of blobs": lambda folder: lie(folder, "blobs", -1),
    "a number that is a text": lambda folder: lie(folder, "bytes", "9" * 5000),
    "words for a terminal": lambda folder: lie(folder, "made_by", "\x1b]0;owned\x07"),
    "a service that is none": lambda folder: lie(folder, "service", "../.."),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For a backup of two clips, which is made once and copied from then on."""
    return tmp_path_factory.mktemp("sound") / "backup"


@pytest.mark.parametrize("strange", STRANGE.values(), ids=STRANGE)
async def test_what_a_stranger_sends_restores_nothing(
    open_rt: Open, tmp_path: Path, sound: Path, empty: Settings, strange: Callable[[Path], object]
) -> None:
    if not sound.exists():
        async with open_rt() as rt:
            await filled(rt, sound, 2)
    folder = tmp_path / "backup"
    shutil.copytree(sound, folder)
    strange(folder)
    with pytest.raises(ArchiveError) as refused:
        await asyncio.wait_for(restore(empty, folder), 120)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1000
    async with open_runtime(empty, Metrics()) as untouched:
        assert await contents(untouched) == {}
        assert await keys_in(untouched.blobs) == set()
        async with untouched.begin() as connection:
            assert await connection.scalar(sa.text("SELECT bool_and(tgenabled = 'O') FROM pg_trigger"))


async def test_rows_from_before_there_were_rules_are_refused_as_well(
    rt: Runtime, tmp_path: Path, empty: Settings
) -> None:
    folder = tmp_path / "backup"
    await filled(rt, folder, 2)
    await as_of_revision(rt, folder, "0006")
    column(folder, "size", "-1")
    with pytest.raises(ArchiveError, match="damaged"):
        await restore(empty, folder)


@pytest.mark.parametrize(("length", "refused"), [(2048, False), (2049, True)])
async def test_an_address_is_no_longer_than_one_that_can_be_sent(
    rt: Runtime, tmp_path: Path, empty: Settings, length: int, refused: bool
) -> None:
    await upload(rt, wav())
    address = "https://example.com/".ljust(length, "a")
    async with rt.begin() as connection:
        statement = "UPDATE clips SET blob_key = NULL, external_url = :address"
        await connection.execute(sa.text(statement), {"address": address})
    await backup(rt, tmp_path / "backup")
    if refused:
        with pytest.raises(ArchiveError, match="texts"):
            await restore(empty, tmp_path / "backup")
    else:
        await restore(empty, tmp_path / "backup")


async def test_words_of_a_stranger_are_as_harmless_as_those_that_are_sent(
    rt: Runtime, tmp_path: Path, empty: Settings
) -> None:
    folder = tmp_path / "backup"
    await filled(rt, folder, 2)
    column(folder, "title", "a\x1b[31m\u202eb\\nc")
    column(folder, "description", "one\\r\\ntwo\x7f")
    column(folder, "album", "\u2066")
    column(folder, "file_name", "../\u202egpj.exe")
    column(folder, "tags", '{"com\u202eposer": ["\\\\u001b]0;owned\\\\u0007"]}')
    await restore(empty, folder)
    async with open_runtime(empty, Metrics()) as again, again.begin() as connection:
        statement = sa.text(
            "SELECT title, description, album, file_name, tags FROM clips ORDER BY id LIMIT 1"
        )
        row = (await connection.execute(statement)).one()
        assert row.title == "a[31mb c"
        assert row.description == "one\ntwo"
        assert row.album is None
        assert row.file_name == "gpj.exe"
        assert row.tags == {"composer": ["]0;owned"]}
