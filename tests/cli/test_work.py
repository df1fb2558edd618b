"""`mosic work` as an operator runs it, with a made-up kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import typer
from sqlalchemy import URL

from mosic.cli import work as command
from mosic.core.runtime import Runtime
from mosic.core.works.asking import left
from mosic.core.works.kinds import WorkFailed
from mosic.core.works.running import working
from mosic.db.clips import Clip
from mosic.errors import StartupError
from tests.cli.test_commands import mosic
from tests.core.conftest import open_rt  # noqa: F401 – a fixture
from tests.support.databases import shown
from tests.support.learning import QUICK, Gate, Words, learnt, make_table
from tests.support.sounds import wav
from tests.support.stores import Open, upload
from tests.support.waiting import until


@pytest.fixture
async def service(
    tmp_path: Path,
    database_url: URL,
    monkeypatch: pytest.MonkeyPatch,
    logs_restored: None,
    open_rt: Open,  # noqa: F811
) -> AsyncIterator[Runtime]:
    """One that learns, and three clips in it of which all is learnt."""
    words = Words()
    async with open_rt(timings=QUICK, learns=[words]) as rt:
        await make_table(rt)
        async with working(rt, [words], at_once=1, fills=True):
            for seed in range(3):
                await upload(rt, wav(seed=seed))

            async def all_learnt() -> bool:
                return len(await learnt(rt)) == 3

            await until(all_learnt)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MOSIC_MEDIA_ROOT", str(rt.settings.media_root))
        monkeypatch.setenv("MOSIC_DATA_DIR", str(rt.settings.data_dir))
        monkeypatch.setenv("MOSIC_DATABASE_URL_OVERRIDE", shown(database_url))
        yield rt


async def test_counts(service: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
    assert await mosic("work") == 0
    assert capsys.readouterr().out.split() == ["word", "done", "3"]


async def test_a_library_is_learnt_again_also_without_a_service(
    service: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    await command.work(["word"], all_clips=True, learns=[Words()])
    assert "word: 3 clips" in capsys.readouterr().out
    assert {writes for _, writes in (await learnt(service)).values()} == {2}


async def test_failures_are_named(service: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
    async def refuse(_: Clip) -> None:
        raise WorkFailed("no-word", "There is no word\x1b[2J in it.")

    with pytest.raises(typer.Exit) as ended:
        await command.work(["word"], all_clips=True, learns=[Words(refuse)])
    assert ended.value.exit_code == 1
    out = capsys.readouterr().out
    for clip_id in await learnt(service):
        assert f"{clip_id}  Untitled: no-word: There is no word\\x1b[2J in it." in out


async def test_one_clip(service: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
    clip_id = min(await learnt(service))
    await command.work([str(clip_id), "word"], all_clips=False, learns=[Words()])
    assert capsys.readouterr().out.split() == ["done", "word"]
    assert {one: writes for one, (_, writes) in (await learnt(service)).items() if writes == 2} == {
        clip_id: 2
    }


async def test_interrupted_works_stay_queued(service: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
    gate = Gate()
    task = asyncio.create_task(command.work(["word"], all_clips=True, learns=[Words(gate)]))
    await until(lambda: gate.come)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "stays queued" in capsys.readouterr().err
    assert await left(service, "word") == 3


@pytest.mark.parametrize(
    ("what", "all_clips"), [(["loudnes"], True), ([], True), (["nonsense", "word"], False)]
)
async def test_what_makes_no_sense(service: Runtime, what: list[str], all_clips: bool) -> None:
    with pytest.raises(StartupError, match=r"word|KIND"):
        await command.work(what, all_clips=all_clips, learns=[Words()])
