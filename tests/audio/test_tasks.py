"""Other tasks than probing, in a pool of their own."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mosic.audio.isolation import TaskPool
from mosic.audio.process import TaskFailed
from mosic.audio.sound import listen
from mosic.background import Background
from tests.audio.pools import needs_proc, workers_of
from tests.support.programs import needs_ffmpeg
from tests.support.sounds import ffmpeg, wav

pytestmark = needs_ffmpeg


@asynccontextmanager
async def pool(**others: int) -> AsyncIterator[TaskPool]:
    opened = TaskPool(("sound", "probe"), 1, 60, 1024, background=Background(), **others)  # type: ignore[arg-type]
    await opened.start()
    try:
        yield opened
    finally:
        await opened.close()


@needs_proc
async def test_what_is_heard_in_the_process_is_what_is_there(tmp_path: Path) -> None:
    """Every codec that can be made here works where no file can be opened and no thread started."""
    made = {
        "mp3": "audio/mpeg",
        "flac": "audio/flac",
        "opus": "audio/ogg",
        "m4a": "audio/mp4",
        "mka": "audio/matroska",
        "wma": "audio/x-ms-wma",
        "ac3": "audio/ac3",
        "wav": "audio/wav",
    }
    async with pool() as tasks:
        assert tasks.missing == ()
        for ending, media_type in made.items():
            path = tmp_path / f"a.{ending}"
            ffmpeg("-f", "lavfi", "-i", "sine=d=4,adelay=500:all=1", "-ac", "2", path)
            found = await tasks.run("sound", path, {"media_type": media_type, "seconds": 60})
            with path.open("rb") as file:
                truth = listen(file, media_type, seconds=60)
            assert found.data == truth.waveform.as_dat()
            assert found.value["integrated_lufs"] == truth.loudness.integrated_lufs
            assert found.value["leading_silence"] == pytest.approx(0.5, abs=0.1)
        assert (await tasks.run("probe", tmp_path / "a.wav")).value["codec"] == "pcm"


@needs_proc
async def test_a_task_that_cannot_be_done_says_why(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(random.Random(1).randbytes(5000))
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=48000:d=3000", tmp_path / "long.flac")
    async with pool(niceness=19) as tasks:
        (pid,) = workers_of(os.getpid())
        assert os.getpriority(os.PRIO_PROCESS, pid) == 19
        with pytest.raises(TaskFailed) as noise:
            await tasks.run("sound", tmp_path / "noise", {"media_type": "audio/mpeg", "seconds": 60})
        assert noise.value.code == "not-decodable"
        with pytest.raises(TaskFailed) as long:
            await tasks.run("sound", tmp_path / "long.flac", {"media_type": "audio/flac", "seconds": 0.1})
        assert long.value.code == "too-long"
        with pytest.raises(TaskFailed) as late:
            await tasks.run(
                "sound", tmp_path / "long.flac", {"media_type": "audio/flac", "seconds": 60}, seconds=0.1
            )
        assert late.value.code == "timeout"
        with pytest.raises(TaskFailed) as missing:
            await tasks.run("sound", tmp_path / "nowhere", {"media_type": "audio/flac", "seconds": 60})
        assert missing.value.code == "unreadable"
        (tmp_path / "a.wav").write_bytes(wav(1.0))
        found = await tasks.run("sound", tmp_path / "a.wav", {"media_type": "audio/wav", "seconds": 60})
        assert found.value["trailing_silence"] < 0.1
