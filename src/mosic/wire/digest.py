"""Digest fields: `Repr-Digest` and `Content-Digest` (RFC 9530), which are dictionaries of RFC 8941."""

from __future__ import annotations

import base64
import re

from mosic.errors import MalformedRequest

# The grammar of RFC 8941 §3 and the two types of RFC 9651. Runs of characters are possessive, so that nothing
# is tried twice; groups are not, as Python 3.11.0 to 3.11.4 misread that (gh-101955).
_KEY = r"[a-z*][a-z0-9_.*-]*+"
_BYTES = r":[A-Za-z0-9+/=]*+:"
_BARE_ITEM = "|".join(
    (
        r"-?[0-9]{1,12}\.[0-9]{1,3}(?![0-9.])",
        r"@?-?[0-9]{1,15}(?![0-9.])",
        r'"(?:[ !#-\[\]-~]|\\["\\])*"',
        r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*+",
        _BYTES,
        r"\?[01]",
        r'%"(?:[ !#-$&-~]|%[0-9a-f]{2})*"',
    )
)
_PARAMETERS = rf"(?:; *+{_KEY}(?:=(?:{_BARE_ITEM}))?)*"
_ITEM = rf"(?:{_BARE_ITEM}){_PARAMETERS}"
_INNER_LIST = rf"\( *+(?:{_ITEM}(?: ++|(?=\))))*\)"
_MEMBER = re.compile(
    rf"(?P<key>{_KEY})(?:=(?:(?P<bytes>{_BYTES})|{_BARE_ITEM}|{_INNER_LIST}))?{_PARAMETERS}"
    r"[ \t]*+(?P<comma>,[ \t]*+)?"
)


def declared_sha256(value: str | None) -> bytes | None:
    """The SHA-256 (32 bytes) that a digest field declares, or None when it declares none.

    Members of other algorithms are ignored. Raises MalformedRequest when the field does not parse, or when
    its `sha-256` is not a byte sequence of 32 bytes: whoever wants bytes verified must not be left to believe
    that they were.
    """
    if value is None:
        return None
    text = value.strip(" \t")
    found: re.Match[str] | None = None
    position = 0
    while position < len(text):
        member = _MEMBER.match(text, position)
        # After a member comes either a comma and another one, or the end.
        if member is None or (member.end() == len(text)) == (member["comma"] is not None):
            raise _malformed()
        if member["key"] == "sha-256":
            found = member  # §4.2.2 of RFC 8941: the last of several counts
        position = member.end()
    return None if found is None else _sha256(found["bytes"])


def digest_field(sha256: bytes) -> str:
    """The value of a Repr-Digest or Content-Digest field for this SHA-256: `sha-256=:…:`."""
    return f"sha-256=:{base64.b64encode(sha256).decode('ascii')}:"


def _sha256(byte_sequence: str | None) -> bytes:
    if byte_sequence is None:
        raise _malformed()
    text = byte_sequence[1:-1]
    try:
        # RFC 8941 §4.2.7: missing padding is not an error.
        digest = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise _malformed() from None
    if len(digest) != 32:
        raise _malformed()
    return digest


def _malformed() -> MalformedRequest:
    return MalformedRequest("A digest field must look like 'sha-256=:<base64 of 32 bytes>:' (RFC 9530).")
