"""Rare formats, whose headers are taken at their word as far as the bytes are there."""

from __future__ import annotations

import struct
import subprocess
import tracemalloc
from pathlib import Path

import pytest

from mosic.audio.probe import probe
from mosic.errors import UnreadableMedia
from tests.audio.test_types import HEADERS
from tests.support.programs import needs
from tests.support.sounds import wav

MEBIBYTE = 1 << 20


def packet(kind: bytes, data: bytes) -> bytes:
    """Of Musepack 8, for sizes of one byte."""
    return kind + bytes([len(data) + 3]) + data


def musepack(samples: int = 88_200 + 481) -> bytes:
    """Two seconds at 44.1 kHz in stereo, of which 481 samples are the encoder's delay."""
    numbers = b"".join(bytes([n >> 14 | 0x80, n >> 7 & 0x7F | 0x80, n & 0x7F]) for n in (samples, 481))
    head = packet(b"SH", b"\0\0\0\0\x08" + numbers + b"\x1f\x19") + packet(b"RG", b"\1" + bytes(8))
    return b"MPCK" + head + packet(b"AP", bytes(100)) * 300 + packet(b"SE", b"")


def ape() -> bytes:
    """Two seconds, with the sizes of all parts, which add up to the file."""
    sizes = struct.pack("<7I", 52, 24, 40, 44, 40_000, 0, 10)
    head = struct.pack("<4sH2x28s20xIIIHHI", b"MAC ", 3990, sizes, 73728, 14472, 2, 16, 2, 44100)
    return head + bytes(40_170 - len(head))


WHOLE = {
    "ape": ape(),
    "musepack": musepack(),
    "dsf": HEADERS["audio/x-dsf"],
    "dsdiff": HEADERS["audio/x-dff"],
}


@pytest.mark.parametrize("name", WHOLE)
def test_cut_off(name: str, tmp_path: Path) -> None:
    """A header that promises what is not there is no measure."""
    path = tmp_path / name
    data = WHOLE[name]
    path.write_bytes(data)
    whole = probe(path)
    assert whole.duration == pytest.approx(2, abs=0.02)
    for kept in (0.5, 0.9):
        path.write_bytes(data[: int(len(data) * kept)])
        cut = probe(path)
        assert (cut.duration, cut.media_type, cut.codec) == (None, whole.media_type, whole.codec)


def test_a_tag_behind_is_no_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.mpc"
    path.write_bytes(musepack())
    bare = probe(path)
    item = struct.pack("<II", 40_000, 0) + b"Notes\0" + bytes(40_000)
    path.write_bytes(musepack() + item + struct.pack("<8sIIII8x", b"APETAGEX", 2000, len(item) + 32, 1, 0))
    found = probe(path)
    assert (found.duration, found.bitrate) == (bare.duration, bare.bitrate)


@needs("mpcenc")
def test_what_the_encoder_makes(tmp_path: Path) -> None:
    sound, path = tmp_path / "a.wav", tmp_path / "a.mpc"
    sound.write_bytes(wav(2.5, rate=44100))
    subprocess.run(["mpcenc", "--silent", sound, path], check=True, capture_output=True)
    found = probe(path)
    assert found.duration == pytest.approx(2.5, abs=0.001)
    assert (found.codec, found.sample_rate, found.channels) == ("musepack", 44100, 1)


@pytest.mark.parametrize(
    "head",
    [
        # Shorter than what is in it, so that less than nothing is left to read.
        b"MPCKSH\x05\0\0\0\0\x08\x81\x81\1\1" + bytes(2),
        # Longer than any file.
        b"MPCKRG\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"MPCKSH\xff\xff\xff\xff\xff\xff\xff\xff\x7f\0\0\0\0\x08\1\1",
    ],
)
def test_a_packet_of_a_false_size_costs_no_memory(head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mpc"
    path.write_bytes(head)
    with path.open("r+b") as file:
        file.truncate(256 * MEBIBYTE)
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableMedia):
            probe(path)
        assert tracemalloc.get_traced_memory()[1] < 16 * MEBIBYTE
    finally:
        tracemalloc.stop()
