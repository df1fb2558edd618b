"""`mosic work --all waveform`: clips that are there already get what a new version hears."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import URL

from tests.cli.test_commands import mosic
from tests.core.conftest import open_rt  # noqa: F401 – a fixture
from tests.support.databases import shown
from tests.support.sounds import wav
from tests.support.stores import Open, upload


async def test_clips_that_are_there_already_are_heard(
    tmp_path: Path,
    database_url: URL,
    monkeypatch: pytest.MonkeyPatch,
    logs_restored: None,
    capsys: pytest.CaptureFixture[str],
    open_rt: Open,  # noqa: F811
) -> None:
    """Twice: without works, as of a version that knew none, and again when all is heard."""
    async with open_rt() as rt:
        for seed in range(3):
            await upload(rt, wav(1.0, seed=seed))
        async with rt.begin() as connection:
            await connection.execute(sa.text("DELETE FROM works"))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MOSIC_MEDIA_ROOT", str(rt.settings.media_root))
        monkeypatch.setenv("MOSIC_DATA_DIR", str(rt.settings.data_dir))
        monkeypatch.setenv("MOSIC_DATABASE_URL_OVERRIDE", shown(database_url))
        for _ in range(2):
            assert await mosic("work", "--all", "waveform") == 0
            assert "waveform: 3 clips" in capsys.readouterr().out
            async with rt.begin() as connection:
                heard = "SELECT count(*) FROM clip_sounds WHERE integrated_lufs < 0"
                assert await connection.scalar(sa.text(heard)) == 3
                left = "SELECT count(*) FROM works WHERE kind = 'waveform' AND state <> 'done'"
                assert await connection.scalar(sa.text(left)) == 0
