"""Text tags in one form for all formats: names, clean values, limits, and the fields of AudioInfo."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mosic.wire.text import clean
from mosic.words import MAX_NUMBER, WORDS, FromTags

MAX_VALUE_BYTES = 64 * 1024
MAX_TOTAL_BYTES = 512 * 1024
MAX_NAMES = 256
MAX_VALUES_PER_NAME = 64
MAX_NAME_LENGTH = 100

# Names of other formats and taggers → names in Vorbis comments.
_ALIASES = {
    "album artist": "albumartist",
    "album_artist": "albumartist",
    "year": "date",
    "track": "tracknumber",
    "tracknum": "tracknumber",
    "track number": "tracknumber",
    "totaltracks": "tracktotal",
    "disc": "discnumber",
    "disk": "discnumber",
    "disknumber": "discnumber",
    "disc number": "discnumber",
    "totaldiscs": "disctotal",
    "author": "artist",
    "unsyncedlyrics": "lyrics",
    "unsynced lyrics": "lyrics",
    "tempo": "bpm",
    "encoded-by": "encodedby",
    "encoded by": "encodedby",
}
# Not text for people, though some formats keep it in text tags.
_NEVER = re.compile(
    r"metadata_block_picture|coverart(mime|type|description)?|cover art.*|wm/picture|itunsmpb|itunnorm|"
    r"waveformatextensible_channel_mask"
)
_DATE = re.compile(r"(\d{4})(?:[-/.:](\d{1,2})(?:[-/.:](\d{1,2}))?)?(?![\d])")
_COMPACT_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})(?!\d)")
_DAY_OR_MONTH_FIRST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})(?!\d)")
_OF_TOTAL = re.compile(r"(\d*)\s*/\s*(\d*)")
_TOTALS = {"tracknumber": "tracktotal", "discnumber": "disctotal"}
_FIRST_YEAR, _MONTHS = 1000, 12
_NUMBER = re.compile(r"\d{1,12}(?!\d)")


def normalise(*sources: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Name and value pairs as the tags of one file have them, to the fields of AudioInfo.

    Of several tags the first that has a name gives its values. A value is cut at `MAX_VALUE_BYTES` of UTF-8;
    what goes beyond the other limits is left out.
    """
    tags: dict[str, list[str]] = {}
    room = MAX_TOTAL_BYTES
    for source in sources:
        given = frozenset(tags)
        for name, whole in _split(source):
            value = _cut(whole, min(MAX_VALUE_BYTES, room))
            if not value or name in given or (name not in tags and len(tags) >= MAX_NAMES):
                continue
            values = tags.setdefault(name, [])
            if value not in values and len(values) < MAX_VALUES_PER_NAME:
                values.append(value)
                room -= len(value.encode())
    words = {word.name: _READ[word.from_tags](tags, word.tag) for word in WORDS if word.from_tags}
    return {**words, "tags": tags}


def _split(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Clean names and values; "3/12" becomes a number and a total."""
    for raw_name, raw_value in pairs:
        name = clean(raw_name[: 2 * MAX_NAME_LENGTH]).lower()[:MAX_NAME_LENGTH]
        name = _ALIASES.get(name, name)
        value = clean(raw_value[:MAX_VALUE_BYTES])
        if not name or _NEVER.fullmatch(name):
            continue
        if (total := _TOTALS.get(name)) and (match := _OF_TOTAL.fullmatch(value)):
            yield total, match[2]
            value = match[1]
        yield name, value


def _cut(text: str, size: int) -> str:
    return text if len(text) * 4 <= size else text.encode()[:size].decode(errors="ignore")


def _all(tags: Mapping[str, list[str]], name: str) -> str | None:
    return ", ".join(" ".join(value.split()) for value in tags.get(name, [])) or None


def _first(tags: Mapping[str, list[str]], name: str) -> str | None:
    return " ".join(tags[name][0].split()) if name in tags else None


def _date(tags: Mapping[str, list[str]], name: str) -> str | None:
    for value in tags.get(name, []):
        text = value.strip()
        if match := _DAY_OR_MONTH_FIRST.match(text):
            text = _year_first(match) + text[match.end() :]
        match = _COMPACT_DATE.match(text) or _DATE.match(text)
        if match and (date := _calendar_date(*(int(part or 0) for part in match.groups()))):
            return date
        if text.strip("0-/.: "):
            return " ".join(text.split())[:64]
    return None


def _year_first(match: re.Match[str]) -> str:
    """Of «31.12.2019» or «12/31/2019»; the year alone where there is no telling the day from the month."""
    first, separator, second, year = match.groups()
    if separator == "." or int(first) > _MONTHS or first == second:
        return f"{year}-{second}-{first}"
    return f"{year}-{first}-{second}" if int(second) > _MONTHS else year


def _calendar_date(year: int, month: int, day: int) -> str | None:
    """As much of the date as is valid; None without a valid year."""
    if year < _FIRST_YEAR:
        return None
    if month > _MONTHS and 0 < day <= _MONTHS:
        # Some write the month where ID3v2.3 has the day.
        month, day = day, month
    if not 0 < month <= _MONTHS or day > monthrange(year, month)[1]:
        return f"{year}"
    return f"{year}-{month:02}-{day:02}" if day else f"{year}-{month:02}"


def _number(tags: Mapping[str, list[str]], name: str) -> int | None:
    for value in tags.get(name, []):
        if match := _NUMBER.match(value.strip()):
            number = int(match[0])
            return number if 0 < number <= MAX_NUMBER else None
    return None


_READ: dict[FromTags, Callable[[Mapping[str, list[str]], str], str | int | None]] = {
    "first": _first,
    "all": _all,
    "date": _date,
    "number": _number,
}
