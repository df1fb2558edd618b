"""Names of files: cleaned when they are received, and printed in Content-Disposition when they are sent.

RFC 6266 (the field), RFC 8187 (`filename*`). A clean name has no control characters, none that reorder text
(U+202E makes «gpj.exe» look like «exe.jpg»), no lone surrogates, and no path.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal
from urllib.parse import quote

MAX_NAME_SIZE = 255
"""Bytes of UTF-8, the limit of common file systems."""

_MAX_ENDING_SIZE = 32
_HARMFUL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_SEPARATOR = re.compile(r"[/\\]")
# Browsers differ on the backslash as an escape, and some decode %41 (RFC 6266 appendix D).
_NOT_PLAIN = re.compile(r'[^ -~]|["\\/%]')
# attr-char of RFC 8187 that quote() would encode.
_ATTR_CHARS = "!#$&+^`|"


def content_disposition(kind: Literal["inline", "attachment"], file_name: str) -> str:
    """The value that suggests a file name: `inline; filename="Cafe.mp3"; filename*=UTF-8''Caf%C3%A9.mp3`.

    Always ASCII, and short, because the name is cut to `MAX_NAME_SIZE`. Path separators and a leading dot
    become `_`; a name of which nothing is left is omitted. `filename` is for clients that do not know
    `filename*`: it drops accents, and has `_` for all else that is not ASCII or that some of them misread.
    """
    name = name_to_save(file_name)
    if not name:
        return kind
    decomposed = unicodedata.normalize("NFKD", name)
    bare = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    # Some single characters decompose into eighteen.
    plain = _visible(_bounded(_NOT_PLAIN.sub("_", bare), MAX_NAME_SIZE)) or "_"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS)}"


def name_to_save(text: str, limit: int = MAX_NAME_SIZE) -> str:
    """A clean name for a file in a folder of the caller: path separators and a leading dot become `_`. At
    most `limit` bytes of UTF-8; empty when nothing is left of it."""
    name = _normal(_SEPARATOR.sub("_", text))
    return _visible(_bounded(name, limit)) if name else ""


def safe_file_name(name: str | None) -> str | None:
    """The name that a client gave its file, cleaned; None when nothing is left of it.

    The last component of a path with either separator (a backslash at the end separates nothing), in NFC,
    without harmful characters and outer white space, and at most `MAX_NAME_SIZE` bytes of UTF-8; a cut
    keeps the ending.
    """
    if name is None:
        return None
    return _normal(_SEPARATOR.split(name.rstrip("\\"))[-1]) or None


def _normal(name: str) -> str:
    """Empty when only dots and white space are left."""
    # Cut before normalising too: that takes quadratic time for a run of combining marks.
    cut = _bounded(_HARMFUL.sub("", name).strip(), 4 * MAX_NAME_SIZE)
    normal = _bounded(unicodedata.normalize("NFC", cut), MAX_NAME_SIZE)
    return normal if normal.strip(". ") else ""


def _bounded(name: str, limit: int) -> str:
    if len(name.encode()) <= limit:
        return name
    stem, dot, ending = name.rpartition(".")
    tail = f"{dot}{ending}".encode()
    if len(tail) > _MAX_ENDING_SIZE:
        stem, tail = name, b""
    return (stem.encode()[: limit - len(tail)] + tail).decode("utf-8", "ignore").strip()


def _visible(name: str) -> str:
    """Without a leading dot, which would hide the file or make it a configuration file."""
    return "_" + name[1:] if name.startswith(".") else name
