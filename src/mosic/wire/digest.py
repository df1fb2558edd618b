"""Digest fields: `Repr-Digest` and `Content-Digest` (RFC 9530), which are dictionaries of RFC 9651."""

from __future__ import annotations

import http_sf

from mosic.errors import MalformedRequest


def declared_sha256(value: str | None) -> bytes | None:
    """The SHA-256 (32 bytes) that a digest field declares, or None when it declares none.

    Members of other algorithms are ignored. Raises MalformedRequest when the field does not parse, or when
    its `sha-256` is not a byte sequence of 32 bytes: a client that wants bytes verified must not go on as if
    they were.
    """
    if value is None:
        return None
    try:
        members = http_sf.parse(value.strip(" \t").encode("ascii"), tltype="dictionary")
    except ValueError:
        raise _malformed() from None
    assert isinstance(members, dict)
    match members.get("sha-256"):
        case None:
            return None
        case bytes(digest), _ if len(digest) == 32:
            return digest
    raise _malformed()


def digest_field(sha256: bytes) -> str:
    """The value of a Repr-Digest or Content-Digest field for this SHA-256: `sha-256=:…:`."""
    return http_sf.ser({"sha-256": sha256})


def _malformed() -> MalformedRequest:
    return MalformedRequest("A digest field must look like 'sha-256=:<base64 of 32 bytes>:' (RFC 9530).")
