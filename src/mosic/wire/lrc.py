"""Lyrics, and the text form of lyrics with times: LRC (https://en.wikipedia.org/wiki/LRC_(file_format))."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

MOST_LINES = 5000

_STAMP = re.compile(r"\[(\d{1,4}):(\d{1,2})(?:[.:](\d{1,3}))?\]")
_TAG = re.compile(r"\[([A-Za-z#]{1,16}):([^\]]*)\]\s*")
_WORD_STAMP = re.compile(r"<\d{1,4}:\d{1,2}(?:[.:]\d{1,3})?>")
_OFFSET = re.compile(r"[+-]?\d{1,9}")


@dataclass(frozen=True, slots=True)
class Line:
    """`start` in seconds, None where the lyrics have no times."""

    start: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Lyrics:
    """Lines in order, all with times or none. `language` is that of ISO 639, None where it is not known."""

    language: str | None
    synced: bool
    lines: list[Line] = field(default_factory=list)


def parse_lrc(text: str) -> Lyrics:
    """Lines with times in order; lines without any are left out where others have some. Where none has, they
    are lines of plain lyrics. Of the tags `offset` and `la` are read; times of words are left out."""
    timed: list[Line] = []
    plain: list[Line] = []
    offset, language = 0.0, None
    for raw in text.splitlines()[: 2 * MOST_LINES]:
        rest = raw.strip()
        stamps: list[float] = []
        while (match := _STAMP.match(rest)) and len(stamps) < 100:
            fraction = float(f"0.{match[3]}") if match[3] else 0.0
            stamps.append(round(int(match[1]) * 60 + int(match[2]) + fraction, 3))
            rest = rest[match.end() :].lstrip()
        if stamps:
            words = " ".join(_WORD_STAMP.sub("", rest).split()) if "<" in rest else rest
            timed += [Line(stamp, words) for stamp in stamps[: MOST_LINES - len(timed)]]
        elif match := _TAG.fullmatch(rest):
            name, value = match[1].lower(), match[2].strip()
            if name == "offset" and _OFFSET.fullmatch(value):
                offset = int(value) / 1000
            elif name == "la":
                language = value or None
        else:
            plain.append(Line(None, rest))
    if timed:
        # A positive offset shows the lines earlier.
        moved = [Line(max((line.start or 0.0) - offset, 0.0), line.text) for line in timed]
        return Lyrics(language, True, sorted(moved, key=lambda line: line.start or 0.0))
    while plain and not plain[-1].text:
        plain.pop()
    while plain and not plain[0].text:
        plain.pop(0)
    return Lyrics(language, False, plain[:MOST_LINES])


def print_lrc(lyrics: Lyrics, tags: Iterable[tuple[str, str]] = ()) -> str:
    """`[mm:ss.xx]text` in hundredths of a second; minutes go on beyond an hour. Lines without times are
    printed as they are, so that `tags` are only there with times."""
    lines: list[str] = []
    if lyrics.synced:
        lines += [f"[{name}:{value.replace(']', ')')}]" for name, value in tags if value]
    for line in lyrics.lines:
        if line.start is None:
            lines.append(line.text)
        else:
            hundredths = round(line.start * 100)
            minutes, rest = divmod(hundredths, 6000)
            lines.append(f"[{minutes:02}:{rest // 100:02}.{rest % 100:02}]{line.text}")
    return "\n".join(lines) + "\n"


def print_vtt(lyrics: Lyrics, duration: float | None) -> str:
    """WebVTT (https://www.w3.org/TR/webvtt1/): each line until the next one begins, the last one until the
    end, or for five seconds. Of lyrics with times only; an empty line is a pause."""
    starts: dict[int, list[str]] = {}
    for line in lyrics.lines:
        starts.setdefault(round((line.start or 0.0) * 1000), []).append(line.text)
    times = list(starts)
    last = times[-1] + 5000 if times else 0
    if duration is not None and times and round(duration * 1000) > times[-1]:
        last = round(duration * 1000)
    cues = ["WEBVTT"]
    for start, end in zip(times, [*times[1:], last], strict=True):
        text = "\n".join(filter(None, map(_escaped, starts[start])))
        if text and end > start:
            cues.append(f"{_vtt_time(start)} --> {_vtt_time(end)}\n{text}")
    return "\n\n".join(cues) + "\n"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _vtt_time(milliseconds: int) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{thousandths:03}"
