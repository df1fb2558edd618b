"""Files of nothing but the smallest units that their format has: they cost no more than their bytes allow."""

from __future__ import annotations

import struct
import time
from contextlib import suppress
from pathlib import Path

import pytest

from mosic.audio.probe import probe
from mosic.audio.source import Source
from mosic.errors import UnreadableMedia, UnsupportedMedia

MEGABYTE = 1 << 20
HUGE = (1 << 40).to_bytes(8, "big")
EBML = bytes.fromhex("1a45dfa38b428288") + b"matroska"
SEGMENT = bytes.fromhex("1853806701ffffffffffffff")
CLUSTER = bytes.fromhex("1f43b675")
# One track of sound with the number 1.
TRACKS = bytes.fromhex("1654ae6b88ae86d78101838102")
# Two blocks of it.
BLOCKS = CLUSTER + bytes.fromhex("91e78100a38581000080ffa3858100148000")
MP4 = b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42"


def ogg_page(flags: int, body: bytes = b"") -> bytes:
    lacing = bytes([len(body)]) if body else b""
    return b"OggS\0" + struct.pack("<BqIIIB", flags, 0, 1, 0, 0, len(lacing)) + lacing + body


VORBIS = b"\x01vorbis" + struct.pack("<IBIiiiBB", 0, 2, 44100, 0, 128000, 0, 0xB8, 1)
OPUS = b"OpusHead" + struct.pack("<BBHIhB", 1, 2, 0, 48000, 0, 0)
WAVPACK = b"wvpk" + struct.pack("<IHBBIIIII", 24, 0x407, 0, 0, 1000, 0, 1, 0x1800, 0)
FILES = {
    "dsdiff": (b"FRM8" + HUGE + b"DSD ", b"ABCD" + bytes(8)),
    "dsdiff properties": (b"FRM8" + HUGE + b"DSD PROP" + HUGE + b"SND ", b"ABCD" + bytes(8)),
    "tak": (b"tBaK", b"\x05\0\0\0"),
    "matroska voids": (EBML + SEGMENT, b"\xec\x80"),
    "matroska clusters": (EBML + SEGMENT, CLUSTER + b"\x80"),
    "matroska clusters behind sound": (EBML + SEGMENT + TRACKS + BLOCKS, CLUSTER + b"\x80"),
    "matroska empty blocks": (EBML + SEGMENT + CLUSTER + b"\x01" + b"\xff" * 7, b"\xa3\x80"),
    "matroska groups": (EBML + SEGMENT + CLUSTER + b"\x01" + b"\xff" * 7, b"\xa0\x80"),
    "matroska tags": (EBML + SEGMENT, bytes.fromhex("1254c3678473738180")),
    "matroska tags of much": (EBML + SEGMENT + bytes.fromhex("1254c367ff7373ff"), b"\x67\xc8\x80"),
    "mp4": (MP4, b"\0\0\0\x08free"),
    "mp4 fragments": (MP4, b"\0\0\0\x10moof\0\0\0\x08traf"),
    "ogg vorbis": (ogg_page(2, VORBIS), ogg_page(0)),
    "ogg opus": (b"", ogg_page(2, OPUS)),
    "wavpack": (b"", WAVPACK),
    "amr": (b"#!AMR\n", b"\x7c"),
    "voc": (b"Creative Voice File\x1a\x1a\0\x0a\x01\x29\x11", b"\x02\0\0\0"),
    "wave": (b"RIFF\xff\xff\xff\x7fWAVE", b"abcd" + bytes(4)),
    "aiff": (b"FORM\x7f\xff\xff\xffAIFF", b"abcd" + bytes(4)),
    "caf": (b"caff\0\x01\0\0", b"free" + bytes(8)),
    "flac": (b"fLaC\0\0\0\x22" + bytes(34), b"\x02\0\0\0"),
    "mp3": (b"", bytes.fromhex("fff31400") + bytes(20)),
    "adts": (b"", bytes.fromhex("fff1504000fffc")),
}


@pytest.fixture(scope="module")
def look(tmp_path_factory: pytest.TempPathFactory) -> float:
    """The processor time of one look into a file on this machine."""
    path = tmp_path_factory.mktemp("look") / "file"
    path.write_bytes(bytes(MEGABYTE))
    count = 20_000
    with path.open("rb") as file:
        source = Source(file.fileno(), MEGABYTE)

        def once() -> float:
            began = time.process_time()
            for at in range(count):
                int.from_bytes(source.read(at, 8), "big")
            return (time.process_time() - began) / count

        return min(once() for _ in range(3))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("megabytes", [1, 4])
def test_smallest_units(name: str, megabytes: int, look: float, tmp_path: Path) -> None:
    head, unit = FILES[name]
    path = tmp_path / "file"
    path.write_bytes(head + unit * ((megabytes * MEGABYTE - len(head)) // len(unit)))

    def once() -> float:
        began = time.process_time()
        with suppress(UnreadableMedia, UnsupportedMedia):
            probe(path)
        return time.process_time() - began

    # Without limits it were 250,000 looks and more for a megabyte, each with several times the work.
    assert min(once(), once()) < look * 200_000 * (1 + megabytes / 2)
