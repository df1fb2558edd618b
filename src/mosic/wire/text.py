"""Cleans text from outside (tags, form and JSON fields, Upload-Metadata) for storing, showing and logging."""

from __future__ import annotations

import re

# C0, DEL and C1, but for tab and line feed. The embeddings, overrides and isolates of bidirectional text
# (UAX #9 §2) change how the text behind them is read: «gpj.exe» can be made to look like «exe.jpg».
_REMOVED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LINE_BREAK = re.compile(r"\r\n?|[\u2028\u2029]")


def is_harmless(text: str) -> bool:
    """Whether it has none of the characters that `clean` takes out."""
    return _REMOVED.search(text) is None


def clean(text: str) -> str:
    """Text that any database column, JSON document and header field can hold.

    NUL and the other control characters go, and those that reorder text; line breaks become `\\n`, tabs stay.
    Surrogate pairs are joined, lone surrogates become U+FFFD, outer white space and byte-order marks go.
    """
    if not text.isascii():
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _REMOVED.sub("", _LINE_BREAK.sub("\n", text)).strip(" \t\n\ufeff\u3000\u00a0")


def escaped(text: str) -> str:
    """The text with what `clean` would remove written as Python escapes, for logs that people read."""
    return _REMOVED.sub(lambda found: ascii(found[0])[1:-1], text)


def clean_line(text: str) -> str:
    """The same on one line: each run of white space becomes one space."""
    return " ".join(clean(text).split())
