"""Chapters and lyrics that a file carries, in one form for all formats, with bounds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from mosic.wire.chapters import Chapter
from mosic.wire.lrc import MOST_LINES, Line, Lyrics, parse_lrc
from mosic.wire.text import clean, clean_line

MOST_CHAPTERS = 1000
MAX_TITLE = 500
MAX_LYRICS = 64 * 1024
"""Characters of all lines."""

# What tags are called that have lyrics, with times or without; all have passed `tags.normalise`.
_LYRICS = ("syncedlyrics", "lyrics", "unsyncedlyrics", "unsynced lyrics", "lyrics-eng", "wm/lyrics")
_CHAPTER = re.compile(r"chapter(\d{1,3})(name)?")
_TIME = re.compile(r"(\d{1,4}):(\d{1,2}):(\d{1,2}(?:\.\d{1,9})?)")
_CUE_TITLE = re.compile(r'TITLE\s+"?([^"]*)"?', re.IGNORECASE)
_CUE_INDEX = re.compile(r"INDEX\s+0?1\s+(\d{1,4}):(\d{1,2}):(\d{1,2})", re.IGNORECASE)
_CUE_FRAMES = 75
_MOST_LOOKED_AT = 10_000


@dataclass(frozen=True, slots=True)
class Carried:
    """As a reader found them: in any order, with any times. Those that come first are trusted most."""

    chapters: list[Chapter] = field(default_factory=list)
    lyrics: list[Lyrics] = field(default_factory=list)


def from_tags(pairs: Sequence[tuple[str, str]]) -> Carried:
    """What text tags say: `CHAPTER001` and `CHAPTER001NAME`
    (https://wiki.xiph.org/Chapter_Extension), a cue sheet, and lyrics, also in the LRC form."""
    starts: dict[int, float] = {}
    titles: dict[int, str] = {}
    lyrics: dict[str, Lyrics] = {}
    cues: list[Chapter] = []
    for raw, value in pairs:
        name = raw.lower()
        if match := _CHAPTER.fullmatch(name):
            number = int(match[1])
            if match[2]:
                titles.setdefault(number, value)
            elif time := _TIME.match(value.strip()):
                starts.setdefault(number, int(time[1]) * 3600 + int(time[2]) * 60 + float(time[3]))
        elif name == "cuesheet" and not cues:
            cues = list(_cue_chapters(value))
        elif name in _LYRICS or name.startswith("lyrics:"):
            found = parse_lrc(value[:MAX_LYRICS])
            if found.lines:
                lyrics.setdefault(name, found)
    chapters = [Chapter(start, None, titles.get(number, "")) for number, start in starts.items()]
    return Carried(chapters or cues, list(lyrics.values()))


def _cue_chapters(text: str) -> Iterator[Chapter]:
    """A cue sheet has minutes, seconds, and frames of which a second has 75."""
    title, inside = "", False
    for raw in text[:MAX_LYRICS].splitlines()[:_MOST_LOOKED_AT]:
        line = raw.strip()
        if line[:6].upper() == "TRACK ":
            title, inside = "", True
        elif inside and (match := _CUE_TITLE.match(line)):
            title = match[1]
        elif inside and (match := _CUE_INDEX.match(line)):
            yield Chapter(int(match[1]) * 60 + int(match[2]) + int(match[3]) / _CUE_FRAMES, None, title)


def settled(found: Iterable[Carried], duration: float | None) -> tuple[list[Chapter], Lyrics | None]:
    """Of several the first with chapters gives them; of lyrics the first that have times, else the first.

    Chapters are in order; none begins at the end or behind it, and none lasts beyond the next one's
    beginning. Texts are clean, and the numbers bounded.
    """
    found = list(found)
    chapters = next((ordered for one in found if (ordered := _ordered(one.chapters, duration))), [])
    lyrics = [
        bounded for one in found for text in one.lyrics[:8] if (bounded := _bounded(text, duration)).lines
    ]
    best = next((one for one in lyrics if one.synced), lyrics[0] if lyrics else None)
    return chapters, best


def _ordered(chapters: list[Chapter], duration: float | None) -> list[Chapter]:
    last = math.inf if duration is None else duration
    valid = [
        one
        for one in chapters[:_MOST_LOOKED_AT]
        if math.isfinite(one.start) and 0 <= one.start < min(last, 1e9)
    ]
    ordered: list[Chapter] = []
    for one in sorted(valid, key=lambda one: one.start):
        if not ordered or one.start > ordered[-1].start:
            ordered.append(one)
    del ordered[MOST_CHAPTERS:]
    if not ordered:
        return []
    followed = [one.start for one in ordered[1:]]
    return [
        Chapter(round(one.start, 3), _end(one, following, last), _title(one.title, number))
        for number, (one, following) in enumerate(zip(ordered, [*followed, last], strict=True), 1)
    ]


def _end(chapter: Chapter, following: float, last: float) -> float | None:
    end = chapter.end
    if end is None or not math.isfinite(end) or end <= chapter.start:
        return None
    return round(min(end, following, last), 3)


def _title(text: str, number: int) -> str:
    return clean_line(text[: 4 * MAX_TITLE])[:MAX_TITLE].strip() or f"Chapter {number}"


def _bounded(lyrics: Lyrics, duration: float | None) -> Lyrics:
    last = 1e9 if duration is None else duration
    lines: list[Line] = []
    room = MAX_LYRICS
    for line in lyrics.lines[: 2 * MOST_LINES]:
        text = clean_line(line.text[:4000])[:1000]
        room -= len(text)
        if room < 0 or len(lines) >= MOST_LINES:
            break
        if line.start is None:
            lines.append(Line(None, text))
        elif math.isfinite(line.start) and 0 <= line.start <= last:
            lines.append(Line(round(line.start, 3), text))
    if lyrics.synced:
        lines.sort(key=lambda line: line.start or 0.0)
    if not any(line.text for line in lines):
        lines = []
    language = clean(lyrics.language or "").lower()
    known = language if re.fullmatch(r"[a-z]{2,3}(-[a-z0-9]{2,8})*", language) and language != "xxx" else None
    return replace(lyrics, language=known, lines=lines)
