"""Tags of MP4 and QuickTime: metadata keys, 3GPP texts, texts of the Macintosh, several boxes of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from mosic.audio.info import AudioInfo
from mosic.audio.probe import probe
from tests.audio.bombs import box
from tests.audio.made import ffmpeg
from tests.audio.movies import Track, full, movie
from tests.support.programs import needs_ffmpeg


def tagged(more: bytes, folder: Path) -> AudioInfo:
    (folder / "a").write_bytes(movie(Track(samples=100), more=more))
    return probe(folder / "a")


def text(name: bytes, raw: bytes, language: int = 0) -> bytes:
    return box(name, len(raw).to_bytes(2, "big") + language.to_bytes(2, "big") + raw)


def three_gpp(name: bytes, raw: bytes, tail: bytes = b"") -> bytes:
    return full(name, tail=b"\x15\xc7" + raw + tail)


def keyed(*pairs: tuple[str, int, bytes], is_iso: bool) -> bytes:
    """A `meta` box with Apple's keys; QuickTime's has no version."""
    keys = b"".join(box(b"mdta", key.encode()) for key, _, _ in pairs)
    items = b"".join(
        box(index.to_bytes(4, "big"), box(b"data", kind.to_bytes(4, "big") + bytes(4) + value))
        for index, (_, kind, value) in enumerate(pairs, 1)
    )
    inner = full(b"hdlr", 0, tail=b"mdta" + bytes(13))
    inner += full(b"keys", len(pairs), tail=keys) + box(b"ilst", items)
    return box(b"meta", bytes(4 if is_iso else 0) + inner)


@pytest.mark.parametrize("is_iso", [True, False])
@pytest.mark.parametrize("is_user_data", [True, False])
def test_metadata_keys(is_iso: bool, is_user_data: bool, tmp_path: Path) -> None:
    meta = keyed(
        ("com.apple.quicktime.title", 1, "Tïtle".encode()),
        ("com.apple.quicktime.artist", 2, "Ärtist".encode("utf-16-be")),
        ("com.apple.quicktime.creationdate", 1, b"2019-03-01T10:20:30+0200"),
        ("com.apple.quicktime.make", 1, b"Apple"),
        ("com.apple.quicktime.camera.frames", 21, (-7).to_bytes(2, "big", signed=True)),
        ("com.apple.quicktime.artwork", 13, b"\xff\xd8\xff"),
        ("com.example.own", 1, b"kept"),
        is_iso=is_iso,
    )
    found = tagged(box(b"udta", meta) if is_user_data else meta, tmp_path)
    assert (found.title, found.artist, found.date) == ("Tïtle", "Ärtist", "2019-03-01")
    assert found.tags["make"] == ["Apple"]
    assert found.tags["camera.frames"] == ["-7"]
    assert found.tags["com.example.own"] == ["kept"]
    assert "artwork" not in found.tags


@needs_ffmpeg
@pytest.mark.parametrize("ending", ["m4a", "mov", "mp4"])
def test_metadata_keys_by_ffmpeg(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    given = {"title": "Tïtle", "artist": "Ärtist", "album_artist": "Various", "date": "2019", "track": "3/12"}
    options = [part for key, value in given.items() for part in ("-metadata", f"{key}={value}")]
    flags = ("-movflags", "use_metadata_tags")
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.5", "-c:a", "aac", *flags, *options, path)
    found = probe(path)
    assert (found.title, found.artist, found.album_artist) == ("Tïtle", "Ärtist", "Various")
    assert (found.date, found.track_number) == ("2019", 3)


@needs_ffmpeg
def test_3gpp_by_ffmpeg(tmp_path: Path) -> None:
    path = tmp_path / "a.3gp"
    given = {"title": "Tïtle", "artist": "Ärtist", "album": "Älbum", "genre": "Jazz", "date": "2019"}
    options = [part for key, value in given.items() for part in ("-metadata", f"{key}={value}")]
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.5", "-c:a", "aac", *options, path)
    found = probe(path)
    assert (found.title, found.artist, found.album) == ("Tïtle", "Ärtist", "Älbum")
    assert (found.genre, found.date) == ("Jazz", "2019")


def test_3gpp(tmp_path: Path) -> None:
    texts = (
        three_gpp(b"titl", "Tïtle".encode() + b"\0")
        + three_gpp(b"perf", "Ärtist".encode("utf-16") + b"\0\0")
        + three_gpp(b"auth", b"Writer\0")
        + three_gpp(b"albm", b"Album\0", b"\7")
        + full(b"yrrc", tail=(2019).to_bytes(2, "big"))
        + three_gpp(b"dscp", b"No end")
        + full(b"kywd", tail=b"\x15\xc7\2\5one\0\0\4two\0")
    )
    found = tagged(box(b"udta", texts), tmp_path)
    assert (found.title, found.artist, found.album) == ("Tïtle", "Ärtist", "Album")
    assert (found.date, found.track_number) == ("2019", 7)
    assert found.tags["description"] == ["No end"]
    assert found.tags["keywords"] == ["one", "two"]


def test_3gpp_author_alone(tmp_path: Path) -> None:
    assert tagged(box(b"udta", three_gpp(b"auth", b"Writer\0")), tmp_path).artist == "Writer"


@pytest.mark.parametrize(
    ("raw", "language", "expected"),
    [
        ("Café Zürich".encode("mac_roman"), 0, "Café Zürich"),
        ("Don’t – It’s".encode("mac_roman"), 0x7FFF, "Don’t – It’s"),
        ("Café Zürich".encode(), 0, "Café Zürich"),
        ("Café".encode(), 0x15C7, "Café"),
        ("Москва".encode("mac_cyrillic"), 32, "Москва"),
        ("東京".encode("shift_jis"), 11, "東京"),
        ("Łódź".encode("mac_latin2"), 25, "Łódź"),
        ("東京".encode("utf-16"), 0x2A0E, "東京"),
    ],
)
def test_quicktime_texts(raw: bytes, language: int, expected: str, tmp_path: Path) -> None:
    assert tagged(box(b"udta", text(b"\xa9nam", raw, language)), tmp_path).title == expected


def test_a_text_in_two_languages(tmp_path: Path) -> None:
    english, french = b"\0\4\0\0Song", b"\0\7\0\1Chanson"
    found = tagged(box(b"udta", box(b"\xa9nam", english + french)), tmp_path)
    assert found.title == "Song"
    assert found.tags["title"] == ["Song", "Chanson"]


def test_a_second_udta(tmp_path: Path) -> None:
    item = box(b"\xa9ART", box(b"data", b"\0\0\0\1" + bytes(4) + "Löwe".encode()))
    meta = box(b"meta", bytes(4) + full(b"hdlr", 0, tail=b"mdir" + bytes(13)) + box(b"ilst", item))
    first = box(b"udta", text(b"\xa9nam", b"Song"))
    found = tagged(first + box(b"udta", b"") + box(b"udta", meta), tmp_path)
    assert (found.title, found.artist) == ("Song", "Löwe")


def test_broken_keys(tmp_path: Path) -> None:
    """Sizes and indexes that lead nowhere cost tags, and not the sound."""
    broken = box(
        b"meta",
        full(b"hdlr", 0, tail=b"mdta" + bytes(13))
        + full(b"keys", 2**32 - 1, tail=b"\0\0\0\2mdtaX")
        + box(b"ilst", box(b"\xff\xff\xff\xff", box(b"data", b"")) + box(b"\0\0\0\1")),
    )
    found = tagged(broken + box(b"udta", full(b"kywd", tail=b"\0\0\xff\xff")), tmp_path)
    assert found.duration == pytest.approx(2.0)
    assert found.tags == {}


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (1, "Tïtle".encode()),
        (1, "Tïtle".encode("latin-1")),
        (2, "Tïtle".encode("utf-16-be")),
        (2, "Tïtle".encode("utf-16")),
        (2, "Tïtle".encode("utf-16-le")),
        (0, "Tïtle".encode()),
    ],
)
def test_items_in_another_encoding(kind: int, raw: bytes, tmp_path: Path) -> None:
    item = box(b"\xa9nam", box(b"data", kind.to_bytes(4, "big") + bytes(4) + raw))
    own = box(b"mean", bytes(4) + b"com.apple.iTunes") + box(b"name", bytes(4) + b"LABEL")
    item += box(b"----", own + box(b"data", b"\0\0\0\1" + bytes(4) + b"House"))
    meta = box(b"meta", bytes(4) + full(b"hdlr", 0, tail=b"mdir" + bytes(13)) + box(b"ilst", item))
    found = tagged(box(b"udta", meta), tmp_path)
    assert (found.title, found.tags["label"]) == ("Tïtle", ["House"])
