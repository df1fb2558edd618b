"""API keys as operators write them: `name:key`, in a list or in a file.

The name is for logs and metrics, the key for the header. Errors name the place of what is wrong, never its
text, which may be a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Visible ASCII but the comma, which separates keys in settings.
_KEY = re.compile(r"[\x21-\x2b\x2d-\x7e]{1,512}")

MOST_KEYS = 1000
"""Each request with a key is compared with all of them."""

MOST_SIZE = 1024 * 1024
"""Bytes of a key file."""


@dataclass(frozen=True, slots=True)
class NamedKey:
    """The name, and the key itself, which `repr` does not show."""

    name: str
    api_key: str = field(repr=False)


def is_key_name(text: str) -> bool:
    """Up to 64 of `A-Z a-z 0-9 . _ -`, beginning with a letter or digit: safe in logs and as a label."""
    return _NAME.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """Up to 512 visible ASCII characters, without spaces and commas."""
    return _KEY.fullmatch(text) is not None


def parse_key_list(text: str) -> tuple[NamedKey, ...]:
    """`name:key,name:key`; raises `ValueError` with the place of what is wrong."""
    return _parse((f"entry {number}", entry) for number, entry in enumerate(text.split(","), 1))


def parse_key_file(content: bytes) -> tuple[NamedKey, ...]:
    """One `name:key` a line. Empty lines, and lines that begin with `#`, do not count.

    Raises `ValueError` with the place of what is wrong, also when there is no key at all: an empty file is
    more likely one that is being written than a wish to have no key.
    """
    if len(content) > MOST_SIZE:
        raise ValueError(f"it has more than {MOST_SIZE} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    lines = ((f"line {number}", line.strip()) for number, line in enumerate(text.split("\n"), 1))
    keys = _parse((place, line) for place, line in lines if line and not line.startswith("#"))
    if not keys:
        raise ValueError("it has no key")
    return keys


def without_name(content: bytes, name: str) -> bytes:
    """A key file without the keys of that name; every other line stays as it is, to the byte."""
    return b"".join(line for line in content.splitlines(keepends=True) if _name_on(line) != name)


def _name_on(line: bytes) -> str | None:
    text = line.decode("utf-8-sig", "replace").strip()
    return None if text.startswith("#") else text.partition(":")[0].strip()


def _parse(entries: Iterable[tuple[str, str]]) -> tuple[NamedKey, ...]:
    """Several keys may have one name; one key must not have several."""
    found: dict[str, NamedKey] = {}
    for place, entry in entries:
        name, colon, api_key = (part.strip() for part in entry.partition(":"))
        if not colon:
            raise ValueError(f"{place} is not of the form name:key")
        if not is_key_name(name):
            raise ValueError(
                f"{place}: the name before the colon must be up to 64 letters, digits, '.', '_' and '-'"
            )
        if not is_key(api_key):
            raise ValueError(
                f"{place}: a key is made of up to 512 visible ASCII characters, without spaces and commas"
            )
        if found.setdefault(api_key, NamedKey(name, api_key)).name != name:
            raise ValueError(f"{place} has the key of another name")
        if len(found) > MOST_KEYS:
            raise ValueError(f"there are more than {MOST_KEYS} keys")
    return tuple(found.values())
