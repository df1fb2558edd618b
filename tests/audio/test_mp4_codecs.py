"""MP4 whose tables contradict the sound in it: what the samples are, their codec says too."""

from __future__ import annotations

from pathlib import Path

import pytest

from mosic.audio.probe import probe
from tests.audio.made import ffmpeg
from tests.audio.test_mp4_durations import seconds_of
from tests.support.programs import needs_ffmpeg


@needs_ffmpeg
@pytest.mark.parametrize("codec", ["aac", "alac"])
@pytest.mark.parametrize("timescale", [1, 1000, 600, 90_000, 1_000_000, 0])
def test_a_timescale_that_is_not_that_of_the_times(codec: str, timescale: int, tmp_path: Path) -> None:
    """What the samples are, their codec says too: players of AAC go by its frames."""
    path = tmp_path / "a.m4a"
    ffmpeg("-f", "lavfi", "-i", "sine=d=2:r=44100", "-c:a", codec, "-use_editlist", "0", path)
    data = bytearray(path.read_bytes())
    at = data.index(b"mdhd") + 4 + 12
    assert int.from_bytes(data[at : at + 4], "big") == 44100
    data[at : at + 4] = timescale.to_bytes(4, "big")
    assert seconds_of(bytes(data), tmp_path) == pytest.approx(2.0, abs=0.1)


@needs_ffmpeg
@pytest.mark.parametrize("ticks", [0, 1])
def test_times_of_nothing(ticks: int, tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    ffmpeg("-f", "lavfi", "-i", "sine=d=2:r=44100", "-c:a", "aac", "-use_editlist", "0", path)
    data = path.read_bytes()
    at = data.index(b"stts") + 12
    lying = data[:at] + data[at : at + 4] + ticks.to_bytes(4, "big") + data[at + 8 :]
    assert seconds_of(lying, tmp_path) == pytest.approx(2.0, abs=0.1)


@needs_ffmpeg
def test_dts_is_not_taken_for_aac(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    ffmpeg("-f", "lavfi", "-i", "sine=d=1:r=48000", "-ac", "2", "-c:a", "dca", "-strict", "-2", path)
    found = probe(path)
    assert (found.codec, found.sample_rate, found.channels) == ("dts", 48000, 2)
