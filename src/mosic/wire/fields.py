"""What all header fields have in common: lines of one name, media types, lengths (RFC 9110 §5.3, §8.3, §8.6).

Names are lower-case in what is returned, values are text in ISO 8859-1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Lines = Iterable[tuple[bytes, bytes]]
"""Names and values as they came, in order."""

TOO_LONG = 2**63
"""What `parse_length` returns for any larger number: more than a file can have."""

# Digits beyond this are not converted: int() is quadratic, and refuses 4,300 of them.
_MOST_DIGITS = 19


def fields_by_name(lines: Lines) -> dict[str, str]:
    """All fields; several lines of one name are joined to a list (§5.3)."""
    fields: dict[str, str] = {}
    for raw_name, raw_value in lines:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1").strip(" \t")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def select_fields(lines: Lines, names: Mapping[bytes, str]) -> dict[str, str]:
    """Like `fields_by_name`, of some fields only: `names` has their lower-case names, and what to call them.
    The names in `lines` are lower-case already, as ASGI has them."""
    fields: dict[str, str] = {}
    for raw_name, raw_value in lines:
        if raw_name in names:
            name, value = names[raw_name], raw_value.decode("latin-1")
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def essence_of(content_type: str) -> str:
    """The type and subtype, in lower case, without parameters: `audio/ogg`."""
    return content_type.partition(";")[0].strip(" \t").lower()


def parse_length(value: str) -> int:
    """The number that a Content-Length has, at most `TOO_LONG`.

    Raises `ValueError` for all but ASCII digits: int() takes signs, underscores, spaces and the digits of
    other scripts.
    """
    if not (value.isascii() and value.isdigit()):
        raise ValueError("not a length")
    digits = value.lstrip("0") or "0"
    return min(int(digits), TOO_LONG) if len(digits) <= _MOST_DIGITS else TOO_LONG
