"""Dates in ID3 tags, and tags that stand where few look for them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from mosic.audio.probe import probe
from tests.audio.made import frames, id3_tag
from tests.audio.test_probe_id3 import frame


@pytest.mark.parametrize(
    ("version", "frames_of_tag", "date"),
    [
        (4, {b"TDRC": b"31.12.2019"}, "2019-12-31"),
        (4, {b"TDRC": b"circa 1970"}, "circa 1970"),
        (4, {b"TDRC": b"19"}, "19"),
        (4, {b"TDRC": b"2019-12-31T10:00:00Z"}, "2019-12-31"),
        (4, {b"TDRC": b"0031-12"}, "0031-12"),
        (3, {b"TDRC": b"2018", b"TYER": b"2019"}, "2018"),
        (3, {b"TYER": b"2019", b"TDAT": b"2712"}, "2019-12-27"),
        (3, {b"TYER": b"2019", b"TDAT": b"1227", b"TIME": b"1030"}, "2019-12-27"),
        (3, {b"TYER": b"2019", b"TDAT": b"9999"}, "2019"),
        (3, {b"TYER": b"12/31/2019"}, "2019-12-31"),
        (3, {b"TYER": b"about 1970"}, "about 1970"),
        (3, {b"TDAT": b"2712"}, None),
    ],
)
def test_dates(version: int, frames_of_tag: dict[bytes, bytes], date: str | None, tmp_path: Path) -> None:
    """A real date, the year, or the tag as it stands; never numbers picked out of it."""
    body = b"".join(frame(name, b"\0" + text) for name, text in frames_of_tag.items())
    tag = id3_tag(body + frame(b"TIT2", b"\0Song")).replace(b"ID3\3", b"ID3" + bytes([version]), 1)
    (tmp_path / "a").write_bytes(tag + frames())
    found = probe(tmp_path / "a")
    assert (found.title, found.date) == ("Song", date)


def test_other_dates(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(id3_tag(frame(b"TORY", b"\0" + b"1969")) + frames())
    found = probe(tmp_path / "a")
    assert (found.date, found.tags) == (None, {"originaldate": ["1969"]})


def test_an_ape_tag_in_front(tmp_path: Path) -> None:
    """Larger than what is looked through for the first frame, as with a cover."""
    items = struct.pack("<II", 4, 0) + b"Title\0Song"
    items += struct.pack("<II", 200_000, 2) + b"Cover Art (Front)\0" + b"\xff" * 200_000
    ends = [
        b"APETAGEX" + struct.pack("<IIII8x", 2000, len(items) + 32, 2, flags)
        for flags in (0xA0000000, 0x80000000)
    ]
    (tmp_path / "a").write_bytes(ends[0] + items + ends[1] + frames())
    found = probe(tmp_path / "a")
    assert (found.title, found.media_type) == ("Song", "audio/mpeg")
