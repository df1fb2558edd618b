"""Files that are broken, change midway, or were made to do harm."""

from __future__ import annotations

import io
import math
import random
import struct
from pathlib import Path

import numpy as np
import pytest

from mosic.audio.loudness import Loudness
from mosic.audio.sound import NotDecodable, Sound, TooLong, listen
from tests.support.programs import needs_ffmpeg
from tests.support.sounds import ffmpeg

pytestmark = needs_ffmpeg

TONE = "sine=f=440:r=44100:d=6"
TYPES = {
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "m4a": "audio/mp4",
    "mka": "audio/matroska",
    "wav": "audio/wav",
    "wma": "audio/x-ms-wma",
    "ts": "audio/mp2t",
}


def heard(content: bytes, media_type: str, *, seconds: float = 300) -> Sound:
    return listen(io.BytesIO(content), media_type, seconds=seconds)


def duration(sound: Sound) -> float:
    return sound.waveform.length * sound.waveform.samples_per_pixel / sound.waveform.sample_rate


def made(folder: Path, ending: str, source: str = TONE, *options: str) -> bytes:
    path = folder / f"a.{ending}"
    ffmpeg("-f", "lavfi", "-i", source, *options, path)
    return path.read_bytes()


def floats(values: object, *, rate: int = 8000, channels: int = 1) -> bytes:
    """A WAV of 32-bit floats."""
    data = np.asarray(values, "<f4").tobytes()
    head = struct.pack("<HHIIHH", 3, channels, rate, rate * channels * 4, channels * 4, 32)
    return (
        struct.pack("<4sI4s4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16)
        + head
        + struct.pack("<4sI", b"data", len(data))
        + data
    )


@pytest.mark.parametrize("ending", [ending for ending in TYPES if ending != "m4a"])
def test_what_comes_before_the_break_counts(tmp_path: Path, ending: str) -> None:
    whole = made(tmp_path, ending)
    found = heard(whole[: len(whole) // 2], TYPES[ending])
    assert 1.5 < duration(found) < 3.5
    assert found.loudness.integrated_lufs == pytest.approx(-21.8, abs=1)


@pytest.mark.parametrize("ending", ["mp3", "flac", "aac", "ts"])
def test_broken_packets_are_passed_over(tmp_path: Path, ending: str) -> None:
    whole = bytearray(made(tmp_path, ending))
    middle = len(whole) // 2
    whole[middle : middle + 3000] = bytes(3000)
    found = heard(bytes(whole), TYPES[ending])
    assert 4.5 < duration(found) < 6.5


@pytest.mark.parametrize("ending", TYPES)
def test_noise_in_the_place_of_audio_ends(tmp_path: Path, ending: str) -> None:
    """Each file with a hundred random bytes overwritten, forty times, and cut at random."""
    whole = made(tmp_path, ending, TONE.replace("d=6", "d=1"))
    dice = random.Random(ending)
    for _ in range(40):
        broken = bytearray(whole)
        for _ in range(100):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        try:
            found = heard(bytes(broken[: dice.randrange(len(broken))]), TYPES[ending])
        except NotDecodable:
            continue
        check_finite(found.loudness)


def check_finite(loudness: Loudness) -> None:
    for value in (loudness.integrated_lufs, loudness.range_lu, loudness.true_peak_dbtp):
        assert value is None or math.isfinite(value)


@pytest.mark.parametrize("media_type", [*TYPES.values(), "audio/x-ofr", "text/plain"])
@pytest.mark.parametrize("content", [b"", b"\0" * 5000, random.Random(1).randbytes(5000)])
def test_what_is_no_audio(media_type: str, content: bytes) -> None:
    with pytest.raises(NotDecodable):
        heard(content, media_type)


def test_nothing_in_a_file_leads_to_another(tmp_path: Path) -> None:
    """A playlist is not read, whatever it is called."""
    made(tmp_path, "wav")
    for text in (
        f"#EXTM3U\n#EXTINF:6,\nfile://{tmp_path}/a.wav\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{tmp_path}/a.wav'\n",
    ):
        for media_type in TYPES.values():
            with pytest.raises(NotDecodable):
                heard(text.encode(), media_type)


def test_rate_and_channels_that_change_midway(tmp_path: Path) -> None:
    """Two files in one, as recorders of broadcasts make them."""
    first = made(tmp_path, "mp3", TONE, "-ac", "2", "-write_xing", "0", "-id3v2_version", "0")
    second = made(tmp_path, "mp3", TONE.replace("44100", "22050"), "-write_xing", "0", "-id3v2_version", "0")
    found = heard(first + second, "audio/mpeg")
    assert found.waveform.sample_rate == 44100
    assert duration(found) == pytest.approx(12, abs=0.4)
    assert found.loudness.integrated_lufs is not None


def test_the_audio_of_a_film(tmp_path: Path) -> None:
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc=d=3:s=64x64:r=5", "-f", "lavfi", "-i", "sine=d=3", "-shortest"),
        tmp_path / "film.mkv",
    )
    assert duration(heard((tmp_path / "film.mkv").read_bytes(), "audio/matroska")) == pytest.approx(
        3, abs=0.3
    )


def test_numbers_that_are_none(tmp_path: Path) -> None:
    tone = np.sin(np.arange(16_000) / 5) / 2
    for value in (math.nan, math.inf, -math.inf, 1e38):
        broken = tone.copy()
        broken[5000:5010] = value
        found = heard(floats(broken), "audio/wav")
        check_finite(found.loudness)
        assert found.silence[1] < 0.01
        assert duration(found) == pytest.approx(2, abs=0.02)
    nothing = heard(floats(np.full(8000, math.nan)), "audio/wav")
    assert nothing.silence == (1, 1)
    assert set(nothing.waveform.peaks) == {0}


@pytest.mark.parametrize(("rate", "channels"), [(1, 1), (100, 2), (3000, 1), (8000, 64), (2_000_000, 2)])
def test_odd_rates_and_numbers_of_channels(rate: int, channels: int) -> None:
    """What the filter cannot measure has no loudness, and a waveform all the same."""
    found = heard(floats(np.full((2000, channels), 0.5), rate=rate, channels=channels), "audio/wav")
    assert max(found.waveform.peaks) == 16384
    check_finite(found.loudness)


def test_hours_out_of_a_small_file(tmp_path: Path) -> None:
    """Ten hours of silence are a few hundred kilobytes of FLAC: decoding them ends at its limit."""
    content = made(tmp_path, "flac", "anullsrc=r=48000:cl=mono:d=3600")
    assert len(content) < 1_000_000
    with pytest.raises(TooLong):
        heard(content, "audio/flac", seconds=0.2)
