"""What proxies say about the request that they received, in `Forwarded` (RFC 7239) and in `X-Forwarded-*`.

Each proxy appends what it knows, so both are read from the end: `nearest_first` returns one dictionary for
each hop, with those of the members `for`, `proto`, `host` and `prefix` that are present. Which hops are
trusted is decided elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest

from mosic.wire.grammar import TCHAR

MEMBERS = ("for", "proto", "host", "prefix")
FIELDS = (b"forwarded", *(f"x-forwarded-{name}".encode("ascii") for name in MEMBERS))

LONGEST = 2048
"""Characters that are read of a field, counted from its end: no honest chain of proxies is longer."""

# RFC 7239 §4: pairs of a token and a token or quoted string. A value without quotes may have all that is no
# separator, because ports and IPv6 addresses often come without quotes. Runs are possessive: a text that does
# not match fails at once, without backtracking.
_PAIR = re.compile(
    rf"""[ \t]*+(?:({TCHAR}++)=
        (?:"((?:[^"\\]++|\\.)*+)"|([^",;\s\\]*+)))?[ \t]*+([;,]|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def nearest_first(lines: Mapping[bytes, Sequence[bytes]]) -> Iterator[dict[str, str]]:
    """The hops, the nearest proxy first; `lines` has the field lines of each of `FIELDS`, in order.

    `Forwarded` is read only when all of the older fields are missing: a proxy that sets these may pass on a
    `Forwarded` that a client made up. A line of it that cannot be read is ignored, and so are those before
    it.
    """
    older = [_members(lines.get(field, ())) for field in FIELDS[1:]]
    if any(older):
        for values in zip_longest(*older, fillvalue=""):
            yield {name: value for name, value in zip(MEMBERS, values, strict=True) if value}
        return
    left = LONGEST
    for line in reversed(lines.get(FIELDS[0], ())):
        elements = _elements(_end(line, left))
        if elements is None:
            return
        yield from reversed(elements)
        left -= len(line)
        if left <= 0:
            return


def _members(lines: Sequence[bytes]) -> list[str]:
    """The last first; empty when all of them are empty."""
    parts = [part.strip(" \t") for part in _end(b",".join(lines), LONGEST).split(",")]
    return parts[::-1] if any(parts) else []


def _end(line: bytes, length: int) -> str:
    """At most `length` characters of the end, from the beginning of a member on.

    A cut inside a quoted string gives a text that cannot be read, never one with another meaning: the quote
    that ended the string then begins one, or follows a backslash.
    """
    if len(line) > length:
        line = line[-length:].partition(b",")[2]
    return line.decode("latin-1")


def _elements(text: str) -> list[dict[str, str]] | None:
    """The elements of one line in order, None when it does not follow the grammar. Linear in its length."""
    elements: list[dict[str, str]] = [{}]
    position = 0
    while True:
        pair = _PAIR.match(text, position)
        if pair is None:
            return None
        name, quoted, plain, end = pair.groups()
        if name is not None:
            if name.lower() in elements[-1]:
                return None
            elements[-1][name.lower()] = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
        if not end:
            return elements
        if end == ",":
            elements.append({})
        position = pair.end()
