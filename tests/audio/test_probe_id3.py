"""ID3 of every version, in the files that carry it, and as odd as taggers have made it."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import mutagen
import pytest
from mutagen import id3

from mosic.audio.probe import probe
from tests.audio.made import SECONDS, copy, frames, id3_tag
from tests.audio.tagged import TITLE, check
from tests.support.programs import needs_ffmpeg


@needs_ffmpeg
@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("name", ["mp3", "wav", "aiff", "tta", "adts"])
def test_id3(name: str, version: int, made: Path, tmp_path: Path) -> None:
    path = copy(made, name, tmp_path)
    file: Any = mutagen.File(path) if name != "adts" else None
    if file is not None and file.tags is None:
        file.add_tags()
    tags = file.tags if file is not None else id3.ID3()
    tags.delall("TSSE")
    tags.add(id3.TIT2(encoding=1, text=TITLE))
    tags.add(id3.TPE1(encoding=0, text="Ana & the Löwen"))
    tags.add(id3.TALB(encoding=3, text="Seek"))
    tags.add(id3.TPE2(encoding=3, text="Various"))
    tags.add(id3.TCON(encoding=0, text="(8)"))
    tags.add(id3.TDRC(encoding=0, text="2019"))
    tags.add(id3.TRCK(encoding=0, text="3/12"))
    tags.add(id3.TPOS(encoding=0, text="1/2"))
    tags.add(id3.TCOM(encoding=0, text="Clara"))
    tags.add(id3.COMM(encoding=3, lang="eng", desc="", text="plain"))
    tags.add(id3.COMM(encoding=3, lang="deu", desc="Mix", text="described"))
    tags.add(id3.USLT(encoding=3, lang="eng", desc="", text="la\nla"))
    tags.add(id3.TXXX(encoding=3, desc="Foo", text="bar"))
    tags.add(id3.TSRC(encoding=3, text="USRC17607839"))
    tags.add(id3.UFID(owner="http://musicbrainz.org", data=b"abc-def"))
    tags.add(id3.WOAR(url="https://example.org/"))
    tags.add(id3.APIC(encoding=3, mime="image/png", type=3, desc="Cover", data=b"\x89PNG" * 50_000))
    tags.add(id3.PRIV(owner="x", data=b"\xff" * 100))
    if version == 3:
        tags.update_to_v23()
    tags.save(path, v2_version=version)
    found = probe(path)
    check(found)
    assert found.disc_number == 1
    assert found.tags["disctotal"] == ["2"]
    assert found.tags["comment"] == ["plain"]
    assert found.tags["comment:mix"] == ["described"]
    assert found.tags["lyrics"] == ["la\nla"]
    assert found.tags["foo"] == ["bar"]
    assert found.tags["isrc"] == ["USRC17607839"]
    assert found.tags["musicbrainz_trackid"] == ["abc-def"]
    assert found.tags["website"] == ["https://example.org/"]
    assert found.duration == pytest.approx(SECONDS, abs=0.06)


@needs_ffmpeg
def test_several_values_in_id3(made: Path, tmp_path: Path) -> None:
    path = copy(made, "mp3", tmp_path)
    tags = id3.ID3()
    tags.add(id3.TPE1(encoding=3, text=["A", "B"]))
    tags.add(id3.TCON(encoding=3, text=["17", "(31)(4)Mine", "RX"]))
    tags.add(id3.TDRC(encoding=3, text=["2019-03-01T10:20:30"]))
    tags.add(id3.TIPL(encoding=3, people=[["producer", "P"], ["mix", "M"]]))
    tags.save(path)
    found = probe(path)
    assert found.tags["artist"] == ["A", "B"]
    assert found.tags["genre"] == ["Rock", "Trance", "Disco", "Mine", "Remix"]
    assert found.date == "2019-03-01"
    assert found.tags["producer"] == ["P"]
    assert found.tags["mixer"] == ["M"]


def test_id3_version_2(tmp_path: Path) -> None:
    body = b"".join(
        name + len(data).to_bytes(3, "big") + data
        for name, data in (
            (b"TT2", b"\0Caf\xe9"),
            (b"TP1", b"\1\xff\xfe" + "Löwe".encode("utf-16-le")),
            (b"TRK", b"\0003/12"),
            (b"TCO", b"\0(17)"),
            (b"PIC", b"\0PNG\3\0" + bytes(70_000)),
            (b"TYE", b"\x001999"),
        )
    )
    (tmp_path / "a").write_bytes(id3_tag(body).replace(b"ID3\3", b"ID3\2", 1) + frames())
    found = probe(tmp_path / "a")
    assert (found.title, found.artist, found.genre, found.date) == ("Café", "Löwe", "Rock", "1999")
    assert found.track_number == 3


def test_id3_unsynchronised_as_a_whole(tmp_path: Path) -> None:
    """Version 2.3 with the flag: a zero stands behind every 0xff, also within sizes and pictures."""
    text = b"\1\xff\xfe" + "Löwe".encode("utf-16-le")
    picture = b"\0image/png\0\3\0" + b"\xff\xe0" * 40_000
    body = b"APIC" + len(picture).to_bytes(4, "big") + b"\0\0" + picture
    body += b"TIT2" + len(text).to_bytes(4, "big") + b"\0\0" + text
    tag = id3_tag(body.replace(b"\xff", b"\xff\x00"))
    (tmp_path / "a").write_bytes(tag[:5] + b"\x80" + tag[6:] + frames())
    assert probe(tmp_path / "a").title == "Löwe"


def test_id3_frame_sizes_as_itunes_wrote_them(tmp_path: Path) -> None:
    """Version 2.4 with plain sizes where synchsafe ones belong."""
    long = b"\3" + b"x" * 300
    body = b"COMM" + (len(long) + 4).to_bytes(4, "big") + b"\0\0\3eng\0" + long[1:]
    body += b"TIT2" + (5).to_bytes(4, "big") + b"\0\0\3Song"
    (tmp_path / "a").write_bytes(id3_tag(body).replace(b"ID3\3", b"ID3\4", 1) + frames())
    found = probe(tmp_path / "a")
    assert found.title == "Song"
    assert found.tags["comment"] == ["x" * 300]


def test_id3_with_an_extended_header(tmp_path: Path) -> None:
    body = b"\0\0\0\6\0\0\0\0\0\0" + b"TIT2\0\0\0\5\0\0\0Song"
    tag = id3_tag(body)
    (tmp_path / "a").write_bytes(tag[:5] + b"\x40" + tag[6:] + frames())
    assert probe(tmp_path / "a").title == "Song"


def test_a_compressed_frame(tmp_path: Path) -> None:
    text = zlib.compress(b"\0Song")
    body = b"TIT2" + (len(text) + 4).to_bytes(4, "big") + b"\0\x80" + (5).to_bytes(4, "big") + text
    (tmp_path / "a").write_bytes(id3_tag(body) + frames())
    assert probe(tmp_path / "a").title == "Song"


def old_tag(title: bytes, *, genre: int = 17) -> bytes:
    """ID3v1.1: fields of thirty bytes."""
    return struct.pack(
        "3s30s30s30s4s28sBBB", b"TAG", title, b"Artist", b"Album", b"1999", b"Note", 0, 7, genre
    )


def test_id3_version_1(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(frames() + old_tag(b"Caf\xe9"))
    found = probe(tmp_path / "a")
    assert (found.title, found.artist, found.album) == ("Café", "Artist", "Album")
    assert (found.genre, found.date, found.track_number) == ("Rock", "1999", 7)
    assert found.tags["comment"] == ["Note"]


def test_the_newer_tag_wins(tmp_path: Path) -> None:
    new = id3_tag(b"TIT2\0\0\0\x27\0\0\0A title that is longer than the old tag")
    (tmp_path / "a").write_bytes(new + frames() + old_tag(b"A title that is longer than th"))
    found = probe(tmp_path / "a")
    assert found.tags["title"] == ["A title that is longer than the old ta"]
    assert found.artist == "Artist"


def test_odd_text_in_tags(tmp_path: Path) -> None:
    """NUL, control characters, a lone surrogate: a title comes out that PostgreSQL stores."""
    text = b"\1\xff\xfe" + "a\x07b\x1b\x00".encode("utf-16-le") + b"\x3c\xd8"
    body = b"TIT2" + len(text).to_bytes(4, "big") + b"\0\0" + text
    body += b"TPE1" + (9).to_bytes(4, "big") + b"\0\0\0" + b"x\x01y\x00\x00z\x85w"
    (tmp_path / "a").write_bytes(id3_tag(body) + frames())
    found = probe(tmp_path / "a")
    for values in found.tags.values():
        for value in values:
            value.encode()
            assert not any(ord(character) < 32 for character in value)
    assert found.artist


def frame(name: bytes, content: bytes) -> bytes:
    return name + len(content).to_bytes(4, "big") + b"\0\0" + content


UTF_16 = "Привет".encode("utf-16-be")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\0" + "Don’t – It’s".encode("cp1252"), "Don’t – It’s"),
        (b"\0" + "Café".encode("latin-1"), "Café"),
        (b"\0" + "Привет мир".encode(), "Привет мир"),
        (b"\0" + b"no such letter \x81", "no such letter \ufffd"),
        (b"\3" + "Café".encode("latin-1"), "Café"),
        (b"\1" + "Song".encode("utf-16-be"), "Song"),
        (b"\1" + "Song".encode("utf-16-le"), "Song"),
        (b"\1" + UTF_16, "Привет"),
        (b"\1" + "Привет".encode("utf-16-le"), "Привет"),
        (b"\1\xfe\xff" + UTF_16, "Привет"),
        (b"\1\xff\xfe" + "一".encode("utf-16-le") + b"\0\0", "一"),
        (b"\2" + UTF_16, "Привет"),
        (b"\2\xff\xfe" + "Song".encode("utf-16-le"), "Song"),
        (b"\2" + "Song".encode("utf-16-le"), "Song"),
        (b"\1" + "東京".encode("utf-16-be"), "東京"),
        (b"\1" + "東京".encode("utf-16-le"), "東京"),
        (b"\1" + "你好".encode("utf-16-be"), "你好"),
        (b"\1" + "さくら サクラ".encode("utf-16-be"), "さくら サクラ"),
        (b"\1" + "서울".encode("utf-16-le"), "서울"),
        (b"\0\xff\xfe" + "Привет".encode("utf-16-le"), "Привет"),
        (b"\3\xfe\xff" + UTF_16, "Привет"),
        (b"Hello", "Hello"),
    ],
)
@pytest.mark.parametrize("version", [3, 4])
def test_texts_in_another_encoding_than_they_say(
    content: bytes, expected: str, version: int, tmp_path: Path
) -> None:
    tag = id3_tag(frame(b"TIT2", content)).replace(b"ID3\3", b"ID3" + bytes([version]), 1)
    (tmp_path / "a").write_bytes(tag + frames())
    assert probe(tmp_path / "a").title == expected


def test_texts_with_a_description(tmp_path: Path) -> None:
    """The encoding holds for both; each has its own byte order mark, or none."""
    body = frame(b"TXXX", b"\0" + "Größe".encode() + b"\0" + "süß’".encode("cp1252"))
    body += frame(b"COMM", b"\1deu" + "D".encode("utf-16-be") + b"\0\0" + "Wörter".encode("utf-16-be"))
    body += frame(b"WXXX", b"\1\xff\xfes\0\0\0https://example.org/")
    (tmp_path / "a").write_bytes(id3_tag(body) + frames())
    tags = probe(tmp_path / "a").tags
    assert tags["größe"] == ["süß’"]
    assert tags["comment:d"] == ["Wörter"]
    assert tags["s"] == ["https://example.org/"]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Don’t – It’s".encode("cp1252"), "Don’t – It’s"),
        ("Привет мир".encode(), "Привет мир"),
        ("Привет прекрасный мир".encode()[:30], "Привет прекрасн"),  # cut within a letter
    ],
)
def test_id3_version_1_in_other_encodings(title: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(frames() + old_tag(title))
    assert probe(tmp_path / "a").title == expected


def test_id3_version_1_without_a_genre(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(frames() + old_tag(b"Song", genre=255))
    assert probe(tmp_path / "a").genre is None


@pytest.mark.parametrize("size", [128, 130, 131, 132, 160])
def test_an_ape_tag_is_no_id3v1(size: int, tmp_path: Path) -> None:
    """At 131 bytes its first letters stand where those of ID3v1 do."""
    value = b"x" * (size - 64 - 8 - 5)
    item = struct.pack("<II", len(value), 0) + b"Note\0" + value
    header, footer = (
        struct.pack("<8sIIII8x", b"APETAGEX", 2000, len(item) + 32, 1, flags)
        for flags in (0xA0000000, 0x80000000)
    )
    tag = header + item + footer
    assert len(tag) == size
    (tmp_path / "a").write_bytes(frames() + tag)
    found = probe(tmp_path / "a")
    assert found.title is found.genre is None
    assert found.tags == {"note": [value.decode()]}
    assert found.duration == pytest.approx(40 * 1152 / 44100)
