"""Every format that can be made here, against ffprobe, or the decoded sound where ffprobe estimates."""

from __future__ import annotations

from pathlib import Path

import pytest

from mosic.audio.probe import probe
from tests.audio.made import KINDS, Kind, decoded_seconds, ffprobe, make_many
from tests.support.programs import needs_ffmpeg

pytestmark = needs_ffmpeg

# ffprobe counts the silence that the encoder puts before and behind; players leave it out. Where there is no
# header with a length it divides the size by a bit rate. The decoded sound is the truth then.
ESTIMATED = {
    *("mp3", "mp3-vbr", "mp3-bare", "mp3-vbr-bare", "adts", "wav-mp3", "dts", "latm"),
    *("ts-aac", "ts-mp3", "ts-mp2", "ts-ac3", "ts-eac3", "m2ts"),
}


def check(path: Path, kind: Kind) -> None:
    said = ffprobe(path)
    expected = decoded_seconds(path) if kind.name in ESTIMATED else said["duration"]
    found = probe(path)
    assert found.duration == pytest.approx(expected, abs=0.05)
    assert found.media_type == kind.media_type
    assert found.codec == kind.codec
    assert found.sample_rate == said["sample_rate"]
    assert found.channels == said["channels"]
    # Headers are no sound, and some files hold little else.
    assert found.bitrate is not None
    assert 0.2 < found.bitrate / (path.stat().st_size * 8 / expected) < 1.3


@pytest.fixture(scope="module")
def low(made: Path) -> dict[Kind, Path]:
    """Each kind at its lowest rate, which makes the worst of every frame that is counted wrongly."""
    return dict(
        zip(KINDS, make_many(made, [(kind, kind.rates[0], kind.channels[-1]) for kind in KINDS]), strict=True)
    )


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_like_ffprobe(kind: Kind, low: dict[Kind, Path]) -> None:
    check(low[kind], kind)


def every_rate_and_every_count(kind: Kind) -> list[tuple[Kind, int, int]]:
    """Each at least once; no two of them depend on each other, so that not every pair is needed."""
    rates, channels = kind.rates, kind.channels
    return [
        (kind, rates[at % len(rates)], channels[at % len(channels)])
        for at in range(max(len(rates), len(channels)))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_like_ffprobe_at_every_rate(kind: Kind, tmp_path: Path) -> None:
    for path in make_many(tmp_path, every_rate_and_every_count(kind)):
        check(path, kind)
