"""Chapters and lyrics in hostile files: they cost only themselves, and are bounded."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from pathlib import Path

import pytest
from mutagen.id3 import CHAP, ID3, SYLT, TIT2, USLT

from mosic.audio.info import AudioInfo
from mosic.audio.probe import probe
from tests.support.sounds import wav


def probed(tmp_path: Path, tags: ID3, change: tuple[bytes, bytes] = (b"", b"")) -> AudioInfo:
    path = tmp_path / "hostile.wav"
    tags.save(path)
    path.write_bytes(path.read_bytes().replace(*change) + wav(2))
    return probe(path)


def test_more_chapters_than_anybody_needs(tmp_path: Path) -> None:
    tags = ID3()
    for number in range(3000):
        tags.add(CHAP(element_id=f"{number}", start_time=number % 2000, end_time=2**32 - 2, sub_frames=[]))
    info = probed(tmp_path, tags)
    starts = [chapter.start for chapter in info.chapters]
    assert 0 < len(starts) <= 1000
    assert starts == sorted(set(starts))
    assert starts[-1] < 2
    assert all(chapter.end is not None and chapter.end <= 2 for chapter in info.chapters)


def test_titles_and_lines_are_cut_and_clean(tmp_path: Path) -> None:
    tags = ID3()
    title = TIT2(encoding=1, text="\u202eevil\x07 " + "x" * 3000)
    tags.add(CHAP(element_id="a", start_time=0, end_time=1, sub_frames=[title]))
    tags.add(
        USLT(encoding=3, lang="XXX", desc="", text="a\x07\u202eb\n" + "y" * 30_000 + "\n" * 30_000 + "z")
    )
    info = probed(tmp_path, tags)
    assert info.chapters[0].title.startswith("evil x")
    assert len(info.chapters[0].title) == 500
    assert info.lyrics is not None
    assert (info.lyrics.language, info.lyrics.lines[0].text) == (None, "ab")
    assert len(info.lyrics.lines) <= 5000
    assert sum(len(line.text) for line in info.lyrics.lines) <= 64 * 1024


@pytest.mark.parametrize("size", [0, 3, 7, 12, 17, 20])
def test_frames_that_end_early(tmp_path: Path, size: int) -> None:
    tags = ID3()
    tags.add(SYLT(encoding=1, lang="eng", format=2, type=1, desc="", text=[("one", 5), ("two", 2**32 - 1)]))
    tags.add(CHAP(element_id="a", start_time=0, end_time=1000, sub_frames=[TIT2(encoding=3, text="A")]))
    path = tmp_path / "cut.wav"
    tags.save(path, padding=lambda info: 0)
    tag = path.read_bytes()
    path.write_bytes(tag[: 10 + 10 + size].ljust(len(tag), b"\x01") + wav(2))
    assert probe(path).duration == 2


def test_lyrics_without_any_end(tmp_path: Path) -> None:
    tags = ID3()
    tags.add(SYLT(encoding=1, lang="eng", format=2, type=1, desc="", text=[("x" * 100_000, 5)] * 3))
    assert probed(tmp_path, tags).duration == 2


def test_tags_with_times_that_are_none(tmp_path: Path) -> None:
    tags = ID3()
    tags.add(USLT(encoding=3, lang="eng", desc="", text="[9999:99.999]late\n[00:01.00]there\n[00:-1]plain"))
    info = probed(tmp_path, tags)
    assert info.lyrics is not None
    assert [(line.start, line.text) for line in info.lyrics.lines] == [(1, "there")]
