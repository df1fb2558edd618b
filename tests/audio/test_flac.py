"""FLAC whose stream info (RFC 9639 §8.2) is broken: refused when nothing decodes it, else measured."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mosic.audio import flac
from mosic.audio.probe import probe
from mosic.audio.source import Source
from mosic.errors import UnreadableMedia
from tests.audio.made import ffmpeg
from tests.support.programs import needs_ffmpeg

pytestmark = needs_ffmpeg

LENGTH, BLOCK_SIZES, RATE, BITS, SAMPLES = 5, 8, 18, 20, 22


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("flac") / "a.flac"
    ffmpeg("-f", "lavfi", "-i", "anoisesrc=d=2:r=44100:a=0.3", "-ac", "2", "-sample_fmt", "s16", path)
    return path.read_bytes()


def decodes(path: Path) -> bool:
    command = ["ffmpeg", "-v", "quiet", "-i", str(path), "-f", "s16le", "-"]
    return bool(subprocess.run(command, capture_output=True, check=False).stdout)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (LENGTH, b"\0\1\x22"),
        (LENGTH, b"\0\0\x21"),
        (BLOCK_SIZES, bytes(4)),
        (BLOCK_SIZES, b"\0\x10\0\x10"),
        (BLOCK_SIZES, b"\2\x40\2\x40"),
        (RATE, bytes(4)),
        (BITS, b"\x43\x70"),  # 24 bits where the frames have 16
        (BITS, b"\x42\x10"),  # 2 bits
        (LENGTH + 3, bytes(34)),
        (LENGTH + 3, b"\xff" * 34),
    ],
)
def test_what_no_decoder_decodes_is_refused(at: int, value: bytes, whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(whole[:at] + value + whole[at + len(value) :])
    assert not decodes(path)
    with pytest.raises(UnreadableMedia):
        probe(path)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (12, bytes(6)),  # sizes of frames
        (12, b"\xff" * 6),
        (BLOCK_SIZES, b"\x40\0\x40\0"),  # larger than they are
        (RATE, b"\x01\xf4\x02"),  # 8 kHz, where the frames have 44.1
        (SAMPLES, bytes(4)),
        (SAMPLES, b"\0\0\0\1"),
        (SAMPLES, b"\xff" * 4),
        (26, b"\xff" * 16),  # the checksum of the whole
    ],
)
def test_what_decoders_decode_is_measured(at: int, value: bytes, whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(whole[:at] + value + whole[at + len(value) :])
    assert decodes(path)
    found = probe(path)
    assert found.duration == pytest.approx(2.0, abs=0.001)
    assert found.sample_rate == 44100


def test_a_look_that_is_too_short_finds_no_duration(whole: bytes, tmp_path: Path) -> None:
    """And never that of a part."""
    path = tmp_path / "a.flac"
    path.write_bytes(whole)
    with path.open("rb") as file:
        source = Source(file.fileno(), len(whole))
        for tails in ((64,), (1000,), (64, 40_000)):
            found = flac.read(source, 0, source.size, tails=tails)
            assert found.duration is None or found.duration == pytest.approx(2.0, abs=0.001)
