"""Clips as text: a table, one by one, and as JSON."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.filesize import decimal

from mosic.cli.display import fit_to_show
from mosic.client.clips import Clip

_ID, _DURATION, _SIZE, _ADDED = 36, 8, 8, 16
_GAPS = 5 * 2
_LEAST_WORDS = 32
# For pipes, which have no width.
_TITLE, _ARTIST = 40, 24


class Table:
    """Rows that fit the terminal; a narrow one has two lines for each clip. In pipes, as to `less` and `awk`,
    nothing is cut off, and there is no head."""

    def __init__(self) -> None:
        self._title, self._artist, self._cuts, self._ids_apart = _TITLE, _ARTIST, False, False
        if sys.stdout.isatty():
            columns = shutil.get_terminal_size().columns
            words = columns - _ID - _DURATION - _SIZE - _ADDED - _GAPS
            self._ids_apart = words < _LEAST_WORDS
            if self._ids_apart:
                words = max(_LEAST_WORDS, words + _ID + 2)
            self._title, self._cuts = words * 5 // 8, True
            self._artist = words - self._title

    def head(self) -> str | None:
        if not self._cuts:
            return None
        return self._line("" if self._ids_apart else "id", "title", "artist", "duration", "size", "added")

    def rows(self, clip: Clip) -> Iterator[str]:
        yield self._line(
            "" if self._ids_apart else clip["id"],
            clip["title"],
            str(clip.get("artist") or ""),
            clock(clip.get("duration")),
            size_of(clip),
            moment(clip.get("created_at")),
        )
        if self._ids_apart:
            yield f"  {clip['id']}"

    def _line(self, clip_id: str, title: str, artist: str, duration: str, size: str, added: str) -> str:
        cells = (
            *((clip_id.ljust(_ID),) if clip_id else ()),
            self._words(title, self._title),
            self._words(artist, self._artist),
            duration.rjust(_DURATION),
            size.rjust(_SIZE),
            added,
        )
        return "  ".join(cells).rstrip()

    def _words(self, text: str, width: int) -> str:
        text = fit_to_show(text)
        if cell_len(text) <= width:
            return set_cell_size(text, width)
        return set_cell_size(text, width - 1) + "…" if self._cuts else text


def details(clip: Clip) -> Iterator[str]:
    """All that is known of a clip, a line for each fact; texts of several lines are indented."""
    facts = list(_facts(clip, ""))
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        first, *more = [fit_to_show(line) for line in value.splitlines()] or [""]
        yield f"{fit_to_show(name):<{width}}  {first}"
        yield from (f"{'':<{width}}  {line}" for line in more)


def _facts(members: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in members.items():
        if isinstance(value, dict):
            yield from _facts(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}", "; ".join(map(str, value))
        elif value is not None:
            shown = {"duration": f" s ({clock(value)})", "size": f" bytes ({_bytes(value)})"}
            yield f"{prefix}{name}", f"{value}{'' if prefix else shown.get(name, '')}"


def as_json(value: Any) -> str:
    """On one line, with control characters escaped, which parsers read as the same text."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(
        character if character.isprintable() else json.dumps(character)[1:-1] for character in text
    )


def clock(seconds: Any) -> str:
    """`4:00`, `1:02:03`; empty when it is not known."""
    if not isinstance(seconds, int | float):
        return ""
    whole = round(seconds)
    hours = f"{whole // 3600}:{whole // 60 % 60:02}" if whole >= 3600 else f"{whole // 60}"
    return f"{hours}:{whole % 60:02}"


def size_of(clip: Clip) -> str:
    return _bytes(clip.get("size"))


def moment(timestamp: Any) -> str:
    """In the local time zone, to the minute."""
    try:
        return f"{datetime.fromisoformat(timestamp).astimezone():%Y-%m-%d %H:%M}"
    except (ValueError, TypeError, OverflowError, OSError):
        return ""


def _bytes(size: Any) -> str:
    return decimal(size) if isinstance(size, int) else ""
