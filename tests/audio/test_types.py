"""The table of file types: what is offered for saving, and what is cut from a name."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from mosic.audio.probe import probe
from mosic.audio.types import FILE_TYPES, SOUND_ENDINGS, ending_for, media_type_for, without_ending
from tests.audio.made import KINDS, Kind, make_many
from tests.audio.test_new_formats import narrow, wide
from tests.support.programs import needs_ffmpeg


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("Song.mp3", "Song"),
        ("Song.MP3", "Song"),
        ("Talk.webm", "Talk"),
        ("Film.mkv", "Film"),
        ("Memo.3ga", "Memo"),
        ("Recording.3gpp", "Recording"),
        ("v2.0", "v2.0"),
        ("Mr. Smith goes to town", "Mr. Smith goes to town"),
        ("Op. 27 No. 2", "Op. 27 No. 2"),
        ("Vol. 2.wav", "Vol. 2"),
        ("2019.03.01", "2019.03.01"),
        ("recording.part", "recording.part"),
        ("song.flac.mp3", "song.flac"),
        ("no ending", "no ending"),
        ("ends in a dot.", "ends in a dot."),
        ("mp3", "mp3"),
        ("", ""),
    ],
)
def test_only_a_known_ending_is_cut(name: str, title: str) -> None:
    assert without_ending(name) == title


def test_every_type_has_an_ending_that_leads_back_to_it() -> None:
    for one in FILE_TYPES:
        assert media_type_for(f"a{ending_for(one.media_type, None)}") == one.media_type


def test_no_ending_and_no_type_stands_in_it_twice() -> None:
    endings = [ending for one in FILE_TYPES for ending in one.endings]
    assert len(set(endings)) == len(endings)
    assert len({one.media_type for one in FILE_TYPES}) == len(FILE_TYPES)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_tests_make_is_in_it(kind: Kind) -> None:
    assert ending_for(kind.media_type, kind.codec)
    assert media_type_for(f"a.{kind.ending}")


def test_films_are_not_searched_for() -> None:
    assert {".mp3", ".m4a", ".mka", ".weba", ".opus"} <= SOUND_ENDINGS
    assert not {".mp4", ".mkv", ".webm", ".mov", ".wmv"} & SOUND_ENDINGS


@pytest.mark.parametrize(
    ("media_type", "codec", "ending"),
    [
        ("audio/ogg", "opus", ".opus"),
        ("audio/ogg", "vorbis", ".ogg"),
        ("audio/mpeg", "mp2", ".mp2"),
        ("audio/webm", "opus", ".webm"),
        ("audio/x-unheard-of", None, ""),
        (None, None, ""),
    ],
)
def test_the_ending_to_save_with(media_type: str | None, codec: str | None, ending: str) -> None:
    assert ending_for(media_type, codec) == ending


def lsb_bits(*fields: tuple[int, int]) -> bytes:
    """Numbers of so many bits, the lowest bit first, as TAK has them."""
    number = at = 0
    for value, width in fields:
        number |= value << at
        at += width
    return number.to_bytes((at + 7) // 8, "little")


def big(name: bytes, data: bytes) -> bytes:
    return name + len(data).to_bytes(8, "big") + data


TAK_INFO = lsb_bits((2, 6), (0, 4), (0, 4), (88200, 35), (0, 3), (44100 - 6000, 18), (8, 5), (1, 4), (0, 1))
DSD = 2822400 * 2 // 8
"""Bytes of a second in two channels."""
PROPERTIES = b"SND " + big(b"FS  ", (2822400).to_bytes(4, "big"))
PROPERTIES += big(b"CHNL", b"\0\2SLFTSRGT") + big(b"CMPR", b"DSD \0\0")
REST = bytes(40_000)
# Of what ffmpeg does not write: headers of two seconds, and as many bytes as make them believable.
HEADERS = {
    "audio/amr": narrow(),
    "audio/amr-wb": wide(),
    "audio/x-ape": struct.pack("<4sH50xIIIHHI", b"MAC ", 3990, 73728, 14472, 2, 16, 2, 44100) + REST,
    "audio/x-musepack": b"MP+\7" + struct.pack("<II", 77, 0) + bytes(16) + REST,
    "audio/x-tak": b"tBaK\1" + (len(TAK_INFO) + 3).to_bytes(3, "little") + TAK_INFO + bytes(7) + REST,
    "audio/x-ofr": struct.pack("<4sIIHBBI", b"OFR ", 12, 176400, 0, 2, 1, 44100) + REST,
    "audio/x-dsf": struct.pack("<4sQQQ", b"DSD ", 28, 92 + 2 * DSD, 0)
    + struct.pack("<4sQIIIIIIQII", b"fmt ", 52, 1, 0, 2, 2, 2822400, 1, 5644800, 4096, 0)
    + struct.pack("<4sQ", b"data", 12 + 2 * DSD)
    + bytes(2 * DSD),
    "audio/x-dff": big(
        b"FRM8",
        b"DSD " + big(b"FVER", b"\1\5\0\0") + big(b"PROP", PROPERTIES) + big(b"DSD ", bytes(2 * DSD)),
    ),
}


@needs_ffmpeg
def test_the_readme_says_what_is_taken(made: Path, tmp_path: Path) -> None:
    """Each name in its sentence is a kind of file that a probe takes, and each kind is named."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    listed = re.search(r"Formats: (.*?);", readme, re.DOTALL)
    assert listed
    sentence = re.sub(r"\(.*?\)", "", " ".join(listed[1].replace(" and ", ", ").split()))
    named = {name.strip() for name in sentence.split(",")}
    paths = make_many(made, [(kind, kind.rates[-1], kind.channels[-1]) for kind in KINDS])
    for media_type, data in HEADERS.items():
        path = tmp_path / media_type.replace("/", "-")
        path.write_bytes(data)
        paths.append(path)
    taken = set()
    for path in paths:
        found = probe(path)
        assert found.duration, path
        taken.add(found.media_type)
    assert named == {one.name.partition(" (")[0] for one in FILE_TYPES if one.media_type in taken}
    assert taken == {one.media_type for one in FILE_TYPES}


@needs_ffmpeg
@pytest.mark.parametrize(
    "codec", ["Vorbis", "Opus", "Speex", "FLAC", "PCM", "ALAC", "AAC", "MP3", "AC-3", "DTS"]
)
def test_the_codecs_in_brackets_are_taken(codec: str, made: Path) -> None:
    """Of Ogg, CAF and MPEG-TS; AAC in CAF, which ffmpeg does not write, has tests of its own."""
    named = [one for one in FILE_TYPES if codec in one.name.partition("(")[2]]
    assert named
    short = codec.lower().replace("-", "")
    for one in named:
        if (codec, one.media_type) != ("AAC", "audio/x-caf"):
            assert any(kind.media_type == one.media_type and kind.codec == short for kind in KINDS), one.name
