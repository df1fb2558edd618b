"""Files of other formats that were put one behind the other, or whose writers left something out."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from mosic.audio.probe import probe
from tests.audio.made import ffmpeg
from tests.audio.test_probe_tags import info, riff
from tests.support.programs import needs_ffmpeg


def webm(path: Path, seconds: float, *options: str) -> bytes:
    source = ("-f", "lavfi", "-i", f"sine=d={seconds}:r=48000")
    ffmpeg(*source, "-c:a", "libopus", *options, "-f", "webm", path)
    return path.read_bytes()


@needs_ffmpeg
@pytest.mark.parametrize("first", ["live", "file"])
@pytest.mark.parametrize("second", ["live", "file"])
def test_recordings_in_webm(first: str, second: str, tmp_path: Path) -> None:
    """Players go on with the second, whether the first says where it ends (a browser's does not)."""
    parts = [
        webm(tmp_path / "a", seconds, *(("-live", "1") if kind == "live" else ()))
        for kind, seconds in ((first, 2), (second, 3))
    ]
    (tmp_path / "b").write_bytes(b"".join(parts))
    found = probe(tmp_path / "b")
    assert found.duration == pytest.approx(5, abs=0.1)
    assert found.codec == "opus"
    (tmp_path / "b").write_bytes(parts[0] * 3)
    assert probe(tmp_path / "b").duration == pytest.approx(6, abs=0.15)


@needs_ffmpeg
def test_garbage_behind_webm_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(webm(tmp_path / "a", 2) + b"\x1aE\xdf\xa3" + b"\xff" * 1000)
    assert probe(tmp_path / "b").duration == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("behind", [b"", b"\0"], ids=["without padding", "with padding"])
def test_an_odd_chunk(behind: bytes, tmp_path: Path) -> None:
    whole = riff((b"junk", b"abc_"), info(INAM=b"Song"))
    at = whole.index(b"junk")
    odd = whole[:at] + b"junk\3\0\0\0abc" + behind + whole[at + 12 :]
    (tmp_path / "a").write_bytes(odd)
    found = probe(tmp_path / "a")
    assert found.duration == pytest.approx(0.5)
    assert found.title == "Song"


def test_au_whose_size_was_to_be_written_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b".snd" + struct.pack(">5I", 24, 0, 3, 8000, 1) + bytes(16_000))
    assert probe(tmp_path / "a").duration == pytest.approx(1)


def test_aiff_whose_frames_were_to_be_counted_at_its_end(tmp_path: Path) -> None:
    common = struct.pack(">HIHHQ", 1, 0, 16, 16383 + 12, 8000 << 51)
    chunks = b"COMM" + struct.pack(">I", len(common)) + common
    chunks += b"SSND" + struct.pack(">III", 16_008, 0, 0) + bytes(16_000)
    (tmp_path / "a").write_bytes(b"FORM" + struct.pack(">I", len(chunks) + 4) + b"AIFF" + chunks)
    assert probe(tmp_path / "a").duration == pytest.approx(1)


@needs_ffmpeg
@pytest.mark.parametrize("lengths", [(2, 2), (3, 2), (2, 3), (1, 2, 1)])
@pytest.mark.parametrize("is_piped", [False, True])
def test_flac(lengths: tuple[int, ...], is_piped: bool, tmp_path: Path) -> None:
    """Each counts its frames from 0, so that the last number is that of the last file alone."""
    parts = []
    for seconds, rate in zip(lengths, (44100, 48000, 44100), strict=False):
        source = ("-f", "lavfi", "-i", f"sine=d={seconds}:r={rate}", "-f", "flac")
        if is_piped:
            parts.append(ffmpeg(*source, "-"))
        else:
            ffmpeg(*source, tmp_path / "a")
            parts.append((tmp_path / "a").read_bytes())
    (tmp_path / "b").write_bytes(b"".join(parts))
    assert probe(tmp_path / "b").duration == pytest.approx(sum(lengths), abs=0.01)


@needs_ffmpeg
def test_flac_of_more_files_than_are_measured(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", "-f", "flac", tmp_path / "a")
    (tmp_path / "b").write_bytes((tmp_path / "a").read_bytes() * 40)
    assert probe(tmp_path / "b").duration is None
