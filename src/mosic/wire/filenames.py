"""The names of files in forms, in the ways in which clients write them."""

from __future__ import annotations

import binascii
import re
from urllib.parse import quote, unquote_to_bytes

from mosic.wire.charsets import codec_of, decoded

_BROWSER_ESCAPES = {"%22": '"', "%0d": "\r", "%0a": "\n"}
_BROWSER_ESCAPED = re.compile("|".join(_BROWSER_ESCAPES), re.IGNORECASE)
# RFC 8187 §3.2. Clients that leave characters unencoded are understood as well.
_EXTENDED = re.compile(r"([0-9A-Za-z!#$%&+^_`{}~-]+)'[^']*'(.*)", re.DOTALL)
_PERCENT_ENCODED = re.compile(r"(?=[^%]*%)(?:[0-9A-Za-z._~-]|%[0-9A-Fa-f]{2})+")
# RFC 2047 §2; white space between two such words is not part of the text (§6.2).
_WORD = re.compile(
    r"""=\?([0-9A-Za-z_.:+-]{1,40})(?:\*[0-9A-Za-z-]{1,40})?\?  # an encoding, and a language (RFC 2231 §5)
        ([BbQq])\?([!->@-~]*)\?=(?:[ \t]+(?==\?))?""",
    re.VERBOSE,
)


def plain_file_name(value: str) -> str:
    """The name in a `filename` parameter, given as Latin-1, whose bytes are mostly UTF-8.

    It may also be percent-encoded as a whole, as aiohttp writes it (a name that really is `100%25.mp3` is
    rarer), or have encoded words (RFC 2047), as libraries for mail write it.
    """
    if _PERCENT_ENCODED.fullmatch(value):
        raw = unquote_to_bytes(value)
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            return decoded(value.encode("latin-1"))
        if quote(text, safe="").lower() == value.lower():
            return text.replace("\0", "")
    if "=?" in value and value.isascii():
        return _WORD.sub(_decoded_word, value).replace("\0", "")
    return decoded(without_browser_escapes(value).encode("latin-1")).replace("\0", "")


def _decoded_word(word: re.Match[str]) -> str:
    charset, kind, text = word.groups()
    try:
        raw = binascii.a2b_base64(text + "==") if kind in "Bb" else binascii.a2b_qp(text, header=True)
    except binascii.Error:
        return word[0]
    return decoded(raw, charset)


def extended_file_name(value: str, *, instead: str | None) -> str:
    """The name in a `filename*` parameter (RFC 8187). `instead` when it does not fit the encoding that it
    names; without that the best guess, and an empty name when there is no telling."""
    match = _EXTENDED.fullmatch(value)
    if match is None:
        return instead or ""
    raw = unquote_to_bytes(match[2].encode("latin-1"))
    codec = codec_of(match[1])
    if instead is not None:
        try:
            return raw.decode(codec or "utf-8").replace("\0", "")
        except UnicodeDecodeError:
            return instead
    return decoded(raw, match[1]).replace("\0", "")


def without_browser_escapes(value: str) -> str:
    """Without the percent-encoding of three characters by browsers (WHATWG HTML §4.10.21.8)."""
    return _BROWSER_ESCAPED.sub(lambda match: _BROWSER_ESCAPES[match[0].lower()], value)
