"""What clips sound like, in backups and in the tables: it comes back with its clips, and nothing comes in
that no measurement can have found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from mosic.archive import ArchiveError
from mosic.core.runtime import Runtime
from mosic.core.works.sound import SoundWorks
from mosic.db import clips, sounds
from mosic.db.clips import Clip
from mosic.db.engine import create_engine
from mosic.db.migrate import is_current, migrate, move_to
from mosic.settings import Settings
from tests.core.test_backup import backup, contents, empty, read, restored
from tests.core.test_backup_of_strangers import column, rewrite
from tests.support.sounds import wav
from tests.support.stores import Open, keys_in, upload

__all__ = ["empty"]


async def heard(rt: Runtime, clip: Clip) -> str:
    """Learn what it sounds like; returns the key of its waveform."""
    learnt = await SoundWorks().learn(rt, clip)
    async with rt.begin() as connection:
        await clips.get(connection, clip.id, lock=True)
        assert not await learnt.write(connection)
        found = await sounds.find(connection, clip.id)
    assert found is not None
    assert found.waveform is not None
    return found.waveform


async def test_it_comes_back_with_its_clip(open_rt: Open, tmp_path: Path, empty: Settings) -> None:
    async with open_rt() as rt:
        clip = await upload(rt, wav(2.0, seed=1))
        await upload(rt, wav(2.0, seed=2))
        key = await heard(rt, clip)
        waveform = await read(rt, key)
        manifest = await backup(rt, tmp_path / "backup")
        saved = await contents(rt)
    assert (manifest.blobs, manifest.damaged) == (3, ())
    shown = saved[clip.id.hex][0]
    assert shown.integrated_lufs < 0 <= shown.leading_silence
    async with restored(empty, tmp_path / "backup") as again:
        assert await contents(again) == saved
        assert await read(again, key) == waveform


STRANGE: dict[str, Callable[[Path], object]] = {
    "no number": lambda folder: column(folder, "integrated_lufs", "NaN", "clip_sounds"),
    "no end": lambda folder: column(folder, "true_peak_dbtp", "Infinity", "clip_sounds"),
    "silence before the beginning": lambda folder: column(folder, "leading_silence", "-1", "clip_sounds"),
    "a waveform that is not there": lambda folder: column(folder, "blob_key", "5b" * 16, "clip_sounds"),
    "a clip twice": lambda folder: rewrite(folder, "clip_sounds", lambda text: text + text),
}


@pytest.mark.parametrize("strange", STRANGE.values(), ids=STRANGE)
async def test_what_a_stranger_sends_restores_nothing(
    open_rt: Open, tmp_path: Path, empty: Settings, strange: Callable[[Path], object]
) -> None:
    async with open_rt() as rt:
        await heard(rt, await upload(rt, wav(1.0)))
        await backup(rt, tmp_path / "backup")
    strange(tmp_path / "backup")
    with pytest.raises(ArchiveError):
        async with restored(empty, tmp_path / "backup"):
            pass


async def test_nothing_is_left_of_it(open_rt: Open) -> None:
    """A second measurement takes the place of the first; with the clip both go."""
    async with open_rt(trash_days=0) as rt:
        clip = await upload(rt, wav(2.0))
        key = await heard(rt, clip)
        learnt = await SoundWorks().learn(rt, clip)
        async with rt.begin() as connection:
            await clips.get(connection, clip.id, lock=True)
            (same,) = await learnt.write(connection)
        await rt.blobs.delete(same)
        assert await keys_in(rt.blobs) == {clip.blob_key, key}
        async with rt.begin() as connection:
            released = await clips.delete(connection, clip.id)
        assert {*released} == {clip.blob_key, key}


async def test_the_table_comes_and_goes(empty_database_url: URL) -> None:
    engine = create_engine(empty_database_url, pool_size=1)
    await migrate(engine)
    row = {"blob": "5b" * 16, "clip": UUID("01935b7e-0000-7000-8000-00000000000a")}
    sound = sa.text(
        "INSERT INTO clip_sounds (clip_id, blob_key, integrated_lufs, leading_silence, trailing_silence)"
        " VALUES (:clip, :blob, -14.2, 0, 0.5)"
    )
    async with engine.begin() as connection:
        for statement in (
            "INSERT INTO blobs (key, sha256, size, media_type) VALUES (:blob, sha256('x'), 6, 'audio/wav')",
            "INSERT INTO clips (id, title, blob_key) VALUES (:clip, 't', :blob)",
            "INSERT INTO clip_plays (clip_id) VALUES (:clip)",
        ):
            values = {name: value for name, value in row.items() if f":{name}" in statement}
            await connection.execute(sa.text(statement), values)
        await connection.execute(sound, row)
    for wrong in ("range_lu = -1", "range_lu = 'NaN'", "trailing_silence = 'Infinity'", "blob_key = NULL"):
        with pytest.raises(DBAPIError):
            async with engine.begin() as connection:
                await connection.execute(sa.text(f"UPDATE clip_sounds SET {wrong}"))  # noqa: S608
    async with engine.begin() as connection:
        await move_to(connection, "0016")
        assert await connection.scalar(sa.text("SELECT count(*) FROM clips")) == 1
        assert await connection.scalar(sa.text("SELECT to_regclass('clip_sounds')")) is None
    await migrate(engine)
    assert await is_current(engine)
    async with engine.begin() as connection:
        await connection.execute(sound, row)
        await connection.execute(sa.text("DELETE FROM clips"))
        assert await connection.scalar(sa.text("SELECT count(*) FROM clip_sounds")) == 0
    await engine.dispose()
