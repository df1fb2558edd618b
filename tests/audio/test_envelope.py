"""Waveform and silence, against what numpy finds in the samples that the file was made of."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosic.audio.envelope import Envelope
from mosic.audio.sound import Sound, listen
from mosic.wire.waveform import MOST_BYTES, MOST_PIXELS, read_dat
from tests.support.programs import needs_ffmpeg
from tests.support.sounds import ffmpeg

pytestmark = needs_ffmpeg

RATE = 8000


def wav(samples: object, rate: int = RATE) -> bytes:
    """`samples`: 16-bit values, a row for each moment."""
    array = np.asarray(samples, np.int16)
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(array.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(array.tobytes())
    return out.getvalue()


def heard(content: bytes, media_type: str = "audio/wav") -> Sound:
    return listen(io.BytesIO(content), media_type, seconds=300)


def truth(samples: object, samples_per_pixel: int) -> list[int]:
    array = np.asarray(samples, np.int16)
    pixels = [array[start : start + samples_per_pixel] for start in range(0, len(array), samples_per_pixel)]
    return [int(value) for pixel in pixels for value in (pixel.min(), pixel.max())]


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
@pytest.mark.parametrize("length", [1, 63, 64, 65, 5000, 70_001])
def test_the_pairs_are_those_of_the_samples(channels: int, length: int) -> None:
    samples = np.random.default_rng(length).integers(-32768, 32768, (length, channels))
    samples[::100] = 0
    found = heard(wav(samples)).waveform
    assert found.sample_rate == RATE
    assert found.peaks.tolist() == truth(samples, found.samples_per_pixel)


def test_a_long_file_has_a_bounded_waveform() -> None:
    samples = np.random.default_rng(1).integers(-3000, 3000, (64 * MOST_PIXELS * 5 + 777, 1))
    found = heard(wav(samples)).waveform
    assert MOST_PIXELS // 2 < found.length <= MOST_PIXELS
    assert len(found.as_dat()) <= MOST_BYTES
    assert found.peaks.tolist() == truth(samples, found.samples_per_pixel)
    for points in (1, 2, 7, 800, 10_000):
        fewer = found.resampled(points)
        assert fewer.length <= points
        assert fewer.length * 2 > points or fewer.samples_per_pixel == found.samples_per_pixel
        assert fewer.peaks.tolist() == truth(samples, fewer.samples_per_pixel)
    assert read_dat(found.as_dat()) == found


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_blocks_of_any_size_give_the_same(sizes: list[int], channels: int) -> None:
    """With a tiny bound, so that pairs are joined again and again."""
    total = sum(sizes) * 64 + 17
    samples = np.random.default_rng(total).integers(-32768, 32768, (total, channels))
    whole = (samples / 32768).astype(np.float32)
    envelope = Envelope(RATE, most_pixels=8)
    start = 0
    for size in sizes:
        envelope.add(whole[start : start + size * 64])
        start += size * 64
    envelope.add(whole[start:])
    found = envelope.waveform()
    assert found.length <= 8
    assert found.peaks.tolist() == truth(samples, found.samples_per_pixel)


@pytest.mark.parametrize("channels", [1, 2])
def test_silence_before_and_behind(channels: int) -> None:
    """-60 dBFS is 32.768 of 16 bits: 32 is silence, 33 is not. One channel that sounds is enough."""
    samples = np.zeros((RATE * 3, channels), np.int16)
    samples[:] = 32
    samples[6001, 0] = 33
    samples[9999, -1] = -33
    found = heard(wav(samples))
    assert found.silence == pytest.approx((6001 / RATE, (RATE * 3 - 10_000) / RATE), abs=1e-9)


def test_no_sound_at_all() -> None:
    assert heard(wav(np.full((12_345, 2), -32))).silence == (12_345 / RATE, 12_345 / RATE)


def test_sound_from_end_to_end() -> None:
    assert heard(wav(np.full((12_345, 1), 1000))).silence == (0, 0)


def test_what_an_encoder_adds_is_left_out(tmp_path: Path) -> None:
    """An mp3 begins with more than a thousand samples that its encoder needed, and says so."""
    tone = "sine=f=500:r=44100:d=2,adelay=1000:all=1,apad=pad_dur=1.5"
    for name, media_type in (("a.mp3", "audio/mpeg"), ("a.opus", "audio/ogg"), ("a.m4a", "audio/mp4")):
        ffmpeg("-f", "lavfi", "-i", tone, "-b:a", "128k", tmp_path / name)
        found = heard((tmp_path / name).read_bytes(), media_type)
        assert found.silence == pytest.approx((1.0, 1.5), abs=0.03), name
        waveform = found.waveform
        assert waveform.length * waveform.samples_per_pixel / waveform.sample_rate == pytest.approx(
            4.5, abs=0.03
        )
