"""The pool of probing processes: what it answers, in which order, and how it begins and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
import uvloop

from mosic.audio.info import AudioInfo
from mosic.audio.isolation import ProbePool
from mosic.audio.probe import probe
from mosic.background import Background
from mosic.errors import StartupError, Unavailable, UnreadableMedia, UnsupportedMedia
from tests.audio.made import frames, id3_tag
from tests.audio.pools import is_alive, needs_proc, pool, workers_of
from tests.support.sounds import wav


async def test_answers_as_the_probe_does(song: Path, tmp_path: Path) -> None:
    (tmp_path / "Ünïcode 🎵 \udcff.wav").write_bytes(wav(1.0))
    outcomes: list[tuple[str, float]] = []
    async with pool(on_outcome=lambda outcome, seconds: outcomes.append((outcome, seconds))) as probes:
        for path in tmp_path.iterdir():
            assert await probes.probe(path) == probe(path)
        (tmp_path / "text").write_text("no song")
        with pytest.raises(UnsupportedMedia) as unsupported:
            await probes.probe(tmp_path / "text")
        with pytest.raises(UnsupportedMedia) as said:
            probe(tmp_path / "text")
        assert unsupported.value.detail == said.value.detail
        (tmp_path / "cut").write_bytes(song.read_bytes()[:15])
        with pytest.raises(UnreadableMedia):
            await probes.probe(tmp_path / "cut")
    assert [outcome for outcome, _ in outcomes] == ["ok", "ok", "unsupported", "unreadable"]
    assert all(0 < seconds < 20 for _, seconds in outcomes)


async def test_large_answers(tmp_path: Path) -> None:
    """Half a megabyte of text, every second character of which is escaped on the way."""
    path = tmp_path / "a"
    frame = b"\0foo%03d\0" + b'"\n\\"' * 16_000
    body = b"".join(
        b"TXXX" + len(text).to_bytes(4, "big") + b"\0\0" + text
        for text in (frame % number for number in range(9))
    )
    path.write_bytes(id3_tag(body) + frames())
    async with pool() as probes:
        assert await probes.probe(path) == probe(path)


async def test_calls_wait_in_order(song: Path) -> None:
    finished: list[int] = []

    async def one(number: int) -> None:
        assert (await probes.probe(song)).title == "Song"
        finished.append(number)

    async with pool(workers=1) as probes, asyncio.TaskGroup() as calls:
        for number in range(30):
            calls.create_task(one(number))
    assert finished == list(range(30))


async def test_calls_run_beside_each_other(song: Path, endless: Path) -> None:
    async with pool(workers=2) as probes:
        waiting = asyncio.create_task(probes.probe(endless))
        for _ in range(5):
            assert (await probes.probe(song)).title == "Song"
        assert not waiting.done()
        waiting.cancel()


async def test_cancelled_calls(song: Path, tmp_path: Path) -> None:
    """The answers of calls that were given up never reach others."""
    (tmp_path / "other.wav").write_bytes(wav(1.0))
    async with pool(workers=2) as probes:
        for round_ in range(40):
            given_up = [asyncio.create_task(probes.probe(song)) for _ in range(3)]
            for _ in range(round_ % 7):
                await asyncio.sleep(0)
            for call in given_up:
                call.cancel()
            assert (await probes.probe(tmp_path / "other.wav")).codec == "pcm"


@needs_proc
async def test_close_ends_everything(endless: Path, song: Path) -> None:
    probes = ProbePool(2, 20, 512, background=Background())
    await probes.start()
    pids = workers_of(os.getpid())
    calls = [asyncio.create_task(probes.probe(endless)) for _ in range(5)]
    await asyncio.sleep(0.1)
    await probes.close()
    assert all(
        isinstance(result, Unavailable) for result in await asyncio.gather(*calls, return_exceptions=True)
    )
    assert not any(is_alive(pid) for pid in pids)
    with pytest.raises(Unavailable):
        await probes.probe(song)
    await probes.close()


async def test_no_process_can_be_started(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pool(seconds=5) as probes:
        for program in ("/bin/false", "/nowhere/python"):
            monkeypatch.setattr(sys, "executable", program)
            with pytest.raises(StartupError):
                await ProbePool(1, 20, 512, background=Background()).start()
        os.kill(workers_of(os.getpid())[0], signal.SIGKILL)
        with pytest.raises(Unavailable):
            await probes.probe(song)
        monkeypatch.undo()
        assert (await probes.probe(song)).title == "Song"


def test_on_uvloop(song: Path, endless: Path) -> None:
    async def scenario() -> list[AudioInfo | BaseException]:
        async with pool(workers=2, seconds=3) as probes:
            paths = [song, endless, song, endless, song]
            return await asyncio.gather(*(probes.probe(path) for path in paths), return_exceptions=True)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(scenario())
    assert [isinstance(result, UnreadableMedia) for result in found] == [False, True, False, True, False]
