"""Tags of every format, written by ffmpeg and by mutagen, all read to the same names."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import mutagen
import mutagen.apev2
import mutagen.asf
import mutagen.mp4
import pytest
from mutagen.asf._attrs import ASFByteArrayAttribute

from mosic.audio.probe import probe
from tests.audio.made import SECONDS, copy, ffmpeg, id3_tag
from tests.audio.tagged import TITLE, check
from tests.support.programs import needs_ffmpeg
from tests.support.sounds import wav


@needs_ffmpeg
@pytest.mark.parametrize(
    "name", ["mp3", "flac", "vorbis", "opus", "m4a", "alac", "wma", "ogg-flac", "mp4-flac", "matroska"]
)
def test_written_by_ffmpeg(name: str, made: Path, tmp_path: Path) -> None:
    path = copy(made, name, tmp_path)
    given = {
        "title": TITLE,
        "artist": "Ana & the Löwen",
        "album": "Seek",
        "album_artist": "Various",
        "genre": "Jazz",
        "date": "2019",
        "track": "3/12",
        "composer": "Clara",
    }
    tagged = tmp_path / f"tagged{path.suffix}"
    options = [part for key, value in given.items() for part in ("-metadata", f"{key}={value}")]
    ffmpeg("-i", path, "-c", "copy", "-strict", "-2", *options, tagged)
    check(probe(tagged))


@needs_ffmpeg
def test_quicktime(made: Path, tmp_path: Path) -> None:
    """It keeps a few texts of its own kind, and no others."""
    path = copy(made, "mov", tmp_path)
    options = ("-metadata", f"title={TITLE}", "-metadata", "artist=Löwe", "-metadata", "genre=Jazz")
    ffmpeg("-i", path, "-c", "copy", *options, tmp_path / "tagged.mov")
    found = probe(tmp_path / "tagged.mov")
    assert (found.title, found.artist, found.genre) == (TITLE, "Löwe", "Jazz")


@needs_ffmpeg
@pytest.mark.parametrize("name", ["mp3", "wavpack"])
def test_ape(name: str, made: Path, tmp_path: Path) -> None:
    path = copy(made, name, tmp_path)
    tags = mutagen.apev2.APEv2()
    given: dict[str, Any] = {
        "Title": TITLE, "Artist": "Ana & the Löwen", "Album": "Seek", "Album Artist": "Various",
        "Genre": "Jazz", "Year": "2019", "Track": "3/12", "Composer": "Clara", "Performer": ["P", "Q"],
        "Cover Art (Front)": mutagen.apev2.APEValue(b"x.png\0" + b"\x89PNG" * 500_000, mutagen.apev2.BINARY),
    }  # fmt: skip
    for key, value in given.items():
        tags[key] = value
    tags.save(path)
    found = probe(path)
    if name == "mp3":
        assert found.tags.pop("encodersettings")
    check(found)
    assert found.tags["performer"] == ["P", "Q"]
    assert not any("cover" in key for key in found.tags)


@needs_ffmpeg
def test_vorbis_comments(made: Path, tmp_path: Path) -> None:
    for name in ("flac", "vorbis", "opus", "ogg-flac"):
        path = copy(made, name, tmp_path)
        file: Any = mutagen.File(path)
        file.delete()
        file["TITLE"] = [TITLE]
        file["artist"] = ["A", "B"]
        file["METADATA_BLOCK_PICTURE"] = ["QUJD" * 60_000]
        file["long"] = ["x" * 1_000_000]
        file["after"] = ["read on"]
        file["tracknumber"] = ["99999999999"]
        file.save()
        found = probe(path)
        assert found.title == TITLE, name
        assert found.artist == "A, B"
        assert found.track_number is None
        assert found.tags["long"] == ["x" * 65536]
        assert found.tags["after"] == ["read on"]
        assert "metadata_block_picture" not in found.tags
        assert found.duration == pytest.approx(SECONDS, abs=0.05)


@needs_ffmpeg
def test_mp4(made: Path, tmp_path: Path) -> None:
    path = copy(made, "m4a", tmp_path)
    file: Any = mutagen.mp4.MP4(path)
    file["\xa9nam"] = [TITLE]
    file["\xa9ART"] = ["Ana & the Löwen"]
    file["\xa9alb"] = ["Seek"]
    file["aART"] = ["Various"]
    file["\xa9gen"] = ["Jazz"]
    file["\xa9day"] = ["2019"]
    file["trkn"] = [(3, 12)]
    file["disk"] = [(1, 0)]
    file["\xa9wrt"] = ["Clara"]
    file["tmpo"] = [120]
    file["cpil"] = True
    file["----:com.apple.iTunes:FOO"] = [b"bar", "bäz".encode()]
    file["----:com.apple.iTunes:bytes"] = mutagen.mp4.MP4FreeForm(b"\xff\xfe", dataformat=0)
    file["----:com.apple.iTunes:iTunSMPB"] = [b" 00000000 00000840"]
    file["covr"] = [mutagen.mp4.MP4Cover(b"\x89PNG" * 500_000, mutagen.mp4.MP4Cover.FORMAT_PNG)]
    file["\xa9lyr"] = ["la\rla"]
    file.save()
    found = probe(path)
    check(found)
    assert found.disc_number == 1
    assert "disctotal" not in found.tags
    assert found.tags["bpm"] == ["120"]
    assert found.tags["compilation"] == ["1"]
    assert found.tags["foo"] == ["bar", "bäz"]
    assert found.tags["lyrics"] == ["la\nla"]
    assert "itunsmpb" not in found.tags


@needs_ffmpeg
def test_asf(made: Path, tmp_path: Path) -> None:
    path = copy(made, "wma", tmp_path)
    file: Any = mutagen.asf.ASF(path)
    given: dict[str, Any] = {
        "Title": TITLE, "Author": ["Ana & the Löwen"], "WM/AlbumTitle": "Seek", "WM/AlbumArtist": "Various",
        "WM/Genre": "Jazz", "WM/Year": "2019", "WM/TrackNumber": 3, "WM/Composer": "Clara", "Odd": ["a", "b"],
        "WM/Picture": ASFByteArrayAttribute(b"\x89PNG" * 200_000),
    }  # fmt: skip
    for key, value in given.items():
        file[key] = value
    file.save()
    found = probe(path)
    check(found, total=False)
    assert found.tags["odd"] == ["a", "b"]
    assert not any("picture" in key for key in found.tags)


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WAVE file with further chunks behind the sound."""
    data = wav(0.5)
    for name, payload in chunks:
        data += name + len(payload).to_bytes(4, "little") + payload + b"\0" * (len(payload) % 2)
    return data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]


def info(**items: bytes) -> tuple[bytes, bytes]:
    body = b"".join(
        name.encode() + len(text).to_bytes(4, "little") + text + b"\0" * (len(text) % 2)
        for name, text in items.items()
    )
    return b"LIST", b"INFO" + body


def test_riff_info(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(
        riff(
            info(
                INAM=b"Caf\xe9\0",
                IART="Löwe".encode() + b"\0",
                IPRD=b"Seek",
                IGNR=b"Jazz\0",
                ICRD=b"2019-03-01",
                ITRK=b"3\0",
            )
        )
    )
    found = probe(tmp_path / "a")
    assert (found.title, found.artist, found.album) == ("Café", "Löwe", "Seek")
    assert (found.genre, found.date, found.track_number) == ("Jazz", "2019-03-01", 3)


def test_id3_wins_over_riff_info(tmp_path: Path) -> None:
    tag = id3_tag(b"TIT2\0\0\0\5\0\0\0Song")
    (tmp_path / "a").write_bytes(riff(info(INAM=b"Old", IART=b"Artist"), (b"id3 ", tag)))
    found = probe(tmp_path / "a")
    assert (found.title, found.artist) == ("Song", "Artist")


def test_aiff_text_chunks(tmp_path: Path) -> None:
    common = struct.pack(">hIhHQ", 1, 8000, 16, 16383 + 12, 8000 << 51)
    sound = bytes(8) + bytes(16000)
    body = b"AIFF"
    for name, payload in ((b"COMM", common), (b"NAME", b"Song"), (b"AUTH", b"Me"), (b"SSND", sound)):
        body += name + len(payload).to_bytes(4, "big") + payload
    (tmp_path / "a").write_bytes(b"FORM" + len(body).to_bytes(4, "big") + body)
    found = probe(tmp_path / "a")
    assert (found.title, found.artist, found.duration, found.sample_rate) == ("Song", "Me", 1.0, 8000)
