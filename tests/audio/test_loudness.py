"""Loudness against FFmpeg's own program, which reads the same files with another build of the filter."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from mosic.audio.gain import replay_gain
from mosic.audio.loudness import Loudness
from mosic.audio.sound import listen
from tests.support.programs import needs_ffmpeg
from tests.support.sounds import ffmpeg

LUFS = 0.1
RANGE = 0.2
PEAK = 0.2
SWELLING = "anoisesrc=c=pink:a=0.5:d=12:r={rate}:seed=3,tremolo=f=0.2:d=0.9"
# Vowels of a voice: a rich tone that comes in syllables, with pauses.
SPEECH = (
    "aevalsrc='0.2*lt(mod(t,4),3)*pow(abs(sin(2*PI*2*t)),2)*"
    "(sin(2*PI*120*t)+0.7*sin(2*PI*240*t)+0.5*sin(2*PI*720*t)+0.3*sin(2*PI*2400*t))':d=14:s=44100"
)

pytestmark = needs_ffmpeg
LAYOUTS = {
    1: "mono",
    2: "stereo",
    3: "2.1",
    4: "quad",
    5: "5.0",
    6: "5.1",
    7: "6.1",
    8: "7.1",
}


def heard(path: Path, media_type: str = "audio/wav") -> Loudness:
    with path.open("rb") as file:
        return listen(file, media_type, seconds=300).loudness


def said(path: Path) -> tuple[float, float, float]:
    """Integrated loudness, range and true peak as the program prints them: with one decimal."""
    arguments = ["ffmpeg", "-hide_banner", "-nostats", "-i", str(path), "-af", "ebur128=peak=true"]
    done = subprocess.run([*arguments, "-f", "null", "-"], check=True, capture_output=True, text=True)
    summary = done.stderr[done.stderr.rindex("Summary:") :]
    integrated, loudness_range, peak = (
        re.search(rf"\b{name}: +(\S+)", summary)[1]  # type: ignore[index]
        for name in ("I", "LRA", "Peak")
    )
    return float(integrated), float(loudness_range), float(peak)


def compare(path: Path, media_type: str = "audio/wav") -> None:
    integrated, loudness_range, peak = said(path)
    found = heard(path, media_type)
    # Half a unit of what is printed comes on top.
    assert found.integrated_lufs == pytest.approx(integrated, abs=LUFS + 0.05)
    assert found.range_lu == pytest.approx(loudness_range, abs=RANGE)
    assert found.true_peak_dbtp == pytest.approx(peak, abs=PEAK)


@pytest.mark.parametrize(
    "rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000, 88200, 96000, 176400, 192000]
)
def test_every_sample_rate(tmp_path: Path, rate: int) -> None:
    ffmpeg("-f", "lavfi", "-i", SWELLING.format(rate=rate), tmp_path / "a.wav")
    compare(tmp_path / "a.wav")


@pytest.mark.parametrize("channels", LAYOUTS)
def test_every_number_of_channels(tmp_path: Path, channels: int) -> None:
    """Those behind the listener count more, the one for bass not at all."""
    mixed = "|".join(f"c{number}={1 - 0.1 * number:.1f}*c0" for number in range(channels))
    source = SWELLING.format(rate=48000)
    layout = LAYOUTS[channels]
    ffmpeg("-f", "lavfi", "-i", source, "-af", f"pan={layout}|{mixed}", tmp_path / "a.wav")
    compare(tmp_path / "a.wav")


@pytest.mark.parametrize(
    "source",
    [
        "sine=f=997:d=10:r=48000,volume=15dB",
        "sine=f=30:d=10:r=44100",
        "sine=f=12000:d=10:r=44100",
        "aevalsrc=0.9*sin(2*PI*11025*t+PI/4):d=5:s=44100",
        "anoisesrc=a=0.9:c=white:d=8:r=44100:seed=1",
        "anoisesrc=a=0.003:d=8:r=44100:seed=2",
        SPEECH,
        f"{SPEECH},volume=-25dB",
    ],
)
def test_tones_noise_and_speech(tmp_path: Path, source: str) -> None:
    """A tone between the samples (11025 Hz) is louder than any of them."""
    ffmpeg("-f", "lavfi", "-i", source, "-c:a", "pcm_s24le", tmp_path / "a.wav")
    compare(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.mp3", "audio/mpeg"),
        ("a.flac", "audio/flac"),
        ("a.opus", "audio/ogg"),
        ("a.ogg", "audio/ogg"),
        ("a.m4a", "audio/mp4"),
        ("a.mka", "audio/matroska"),
        ("a.webm", "audio/webm"),
        ("a.aiff", "audio/aiff"),
        ("a.caf", "audio/x-caf"),
        ("a.wma", "audio/x-ms-wma"),
        ("a.ac3", "audio/ac3"),
        ("a.wv", "audio/x-wavpack"),
        ("a.tta", "audio/x-tta"),
        ("a.w64", "audio/x-w64"),
        ("a.au", "audio/basic"),
    ],
)
def test_every_codec(tmp_path: Path, name: str, media_type: str) -> None:
    ffmpeg("-f", "lavfi", "-i", SPEECH, "-ac", "2", tmp_path / name)
    compare(tmp_path / name, media_type)


def test_a_full_scale_tone_of_the_recommendation(tmp_path: Path) -> None:
    """BS.1770-4: a tone of 997 Hz at full scale in one channel is -3.01 LUFS; in both it is 3 LU more. The
    ReplayGain of what is at -18 LUFS is 0."""
    ffmpeg("-f", "lavfi", "-i", "aevalsrc=0.999*sin(2*PI*997*t):d=5:s=48000", tmp_path / "a.wav")
    ffmpeg("-i", tmp_path / "a.wav", "-af", "pan=stereo|c0=c0|c1=c0,volume=-18dB", tmp_path / "b.wav")
    assert heard(tmp_path / "a.wav").integrated_lufs == pytest.approx(-3.01, abs=0.1)
    quieter = heard(tmp_path / "b.wav").integrated_lufs
    assert quieter == pytest.approx(-18.0, abs=0.1)
    assert replay_gain(quieter) == pytest.approx(0, abs=0.1)


def test_what_is_not_defined_is_null(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.3", tmp_path / "short.wav")
    ffmpeg("-f", "lavfi", "-i", "sine=d=2", tmp_path / "longer.wav")
    ffmpeg("-f", "lavfi", "-i", "anullsrc=d=4", tmp_path / "silent.wav")
    short, longer = heard(tmp_path / "short.wav"), heard(tmp_path / "longer.wav")
    assert (short.integrated_lufs, short.range_lu) == (None, None)
    assert replay_gain(short.integrated_lufs) is None
    assert short.true_peak_dbtp == pytest.approx(-18.1, abs=0.2)
    assert longer.integrated_lufs == pytest.approx(-21.8, abs=0.2)
    assert longer.range_lu is None
    assert heard(tmp_path / "silent.wav") == Loudness(None, None, None)
