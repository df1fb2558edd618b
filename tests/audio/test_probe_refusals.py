"""What is not sound is refused by its content, whatever it is called."""

from __future__ import annotations

import io
import random
import tarfile
import zipfile
from pathlib import Path

import pytest

from mosic.audio.probe import probe
from mosic.errors import UnreadableMedia, UnsupportedMedia
from tests.audio.made import copy, ffmpeg, frames, id3_tag
from tests.support.programs import needs_ffmpeg

HTML = b"<!DOCTYPE html><html><script>alert(1)</script>" + b"<p>text</p>" * 500
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 40


def archive_of(name: str, data: bytes) -> dict[str, bytes]:
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_STORED) as file:
        file.writestr(name, data)
    with tarfile.open(fileobj=tarred, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    return {"zip": zipped.getvalue(), "tar": tarred.getvalue()}


NOT_SOUND = {
    "empty": b"",
    "one byte": b"\xff",
    "text": b"Hello, this is no music.\n" * 100,
    "text in another alphabet": "Ceci n'est pas une chanson. Это не песня.\n".encode() * 100,
    "text in UTF-16": "Not a song either.\n".encode("utf-16") * 100,
    "HTML": HTML,
    "HTML, and frames behind it": HTML + frames(),
    "JSON": b'{"a": [1, 2, 3]}',
    "a picture": PNG,
    "a photograph": b"\xff\xd8\xff\xe0\0\x10JFIF\0" + random.Random(1).randbytes(50_000),
    "a picture in a box": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0\0\0\x6cmeta" + bytes(100),
    "a document": b"%PDF-1.7\n" + random.Random(2).randbytes(5000),
    "a program": b"\x7fELF\2\1\1" + bytes(5000),
    "notes": b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\0\4\0\xff\x2f\0",
    "zeros": bytes(1_000_000),
    "ones": b"\xff" * 1_000_000,
    "a song in a zip": archive_of("song.mp3", frames())["zip"],
    "a song in a tar": archive_of("song.mp3", frames())["tar"],
    "another kind of RIFF": b"RIFF\x24\0\0\0AVI LIST" + frames(),
    "a packet stream": (b"G\x40\x11\x10" + bytes(184)) * 100,
}


@pytest.mark.parametrize("data", NOT_SOUND.values(), ids=NOT_SOUND.keys())
def test_is_not_sound(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    path.write_bytes(data)
    with pytest.raises(UnsupportedMedia):
        probe(path)


def test_frames_alone_are_sound(tmp_path: Path) -> None:
    """So that the refusals above are not for want of good frames."""
    (tmp_path / "a").write_bytes(frames())
    assert probe(tmp_path / "a").codec == "mp3"


@pytest.mark.parametrize("payload", [HTML, PNG, b"", bytes(5000), random.Random(3).randbytes(5000)])
def test_behind_an_id3_tag(payload: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(id3_tag(b"TIT2\0\0\0\5\0\0\0Song") + payload)
    with pytest.raises((UnsupportedMedia, UnreadableMedia)):
        probe(tmp_path / "a")


@pytest.mark.parametrize("size", [10, 1000, 4096, 65536, 300_000, 4_000_000])
def test_random_bytes(size: int, tmp_path: Path) -> None:
    """They hold something that could be a frame every few thousand bytes."""
    path = tmp_path / "noise.mp3"
    for seed in range(20 if size < 1_000_000 else 3):
        path.write_bytes(random.Random(seed).randbytes(size))
        with pytest.raises(UnsupportedMedia):
            probe(path)


def test_ends_within_its_tag(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(id3_tag(bytes(5000))[:300])
    with pytest.raises(UnreadableMedia):
        probe(tmp_path / "a")


def test_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UnreadableMedia):
            probe(path)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["film.mp4", "film.ogv", "film.wmv", "film.mkv", "film.webm", "film.ts"])
def test_a_film_without_sound(name: str, tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=0.4:s=64x64", tmp_path / name)
    with pytest.raises(UnsupportedMedia):
        probe(tmp_path / name)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["film.avi", "film.mpg", "film.flv"])
def test_a_film_in_a_format_for_films(name: str, tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=0.4:s=64x64", "-f", "lavfi", "-i", "sine=d=0.4", tmp_path / name)
    with pytest.raises(UnsupportedMedia):
        probe(tmp_path / name)


@needs_ffmpeg
def test_the_name_does_not_matter(made: Path, tmp_path: Path) -> None:
    path = copy(made, "flac", tmp_path)
    for name in ("song.mp3", "page.html", "no-ending", "Ünïcode 🎵.ogg"):
        renamed = path.rename(tmp_path / name)
        assert probe(renamed).media_type == "audio/flac"
        path = renamed
