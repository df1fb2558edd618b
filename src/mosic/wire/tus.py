"""Headers of the resumable upload protocol tus 1.0.0 (https://tus.io/protocols/resumable-upload): what a
request asks for, and what a response has to say. The real offset of an upload is in `core/uploads`.

Requests come as raw header fields, as ASGI has them: a field that was sent twice is then read as the list
that RFC 9110 §5.3 says it is, and so refused wherever a list makes no sense.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from mosic.errors import (
    ChecksumMismatch,
    MalformedRequest,
    TooLarge,
    UnsupportedContentType,
    UnsupportedTusVersion,
)
from mosic.wire.charsets import decoded
from mosic.wire.dates import format_http_date
from mosic.wire.digest import declared_sha256
from mosic.wire.fields import TOO_LONG, essence_of, fields_by_name, parse_length

if TYPE_CHECKING:
    from hashlib import _Hash

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,creation-defer-length,checksum,expiration,termination"
CHECKSUM_ALGORITHMS = ("sha1", "sha256")
CONTENT_TYPE = "application/offset+octet-stream"
LARGEST_INTEGER = 2**63 - 1
METADATA_BYTES = 1400
"""Every response to HEAD repeats it, and proxies take heads of 4 KB: see tests/web/test_response_heads.py."""

METADATA_KEYS = 64

# What a script in a browser may send and read (Access-Control-Allow-Headers and -Expose-Headers).
REQUEST_HEADERS = (
    "Content-Type, Tus-Resumable, Upload-Checksum, Upload-Defer-Length, Upload-Length, Upload-Metadata, "
    "Upload-Offset, X-HTTP-Method-Override"
)
RESPONSE_HEADERS = (
    "Content-Location, Location, Tus-Checksum-Algorithm, Tus-Extension, Tus-Max-Size, Tus-Resumable, "
    "Tus-Version, Upload-Defer-Length, Upload-Expires, Upload-Length, Upload-Metadata, Upload-Offset"
)

RawHeaders = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Metadata:
    """`raw` is sent back to the client unchanged; `values` are decoded (`charsets`) and never contain NUL."""

    raw: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Checksum:
    """Upload-Checksum: the digest that the body of this one request must have."""

    algorithm: str
    digest: bytes

    def hasher(self) -> _Hash:
        """A new hash object, to be updated with the body and given to `verify`."""
        return hashlib.new(self.algorithm, usedforsecurity=False)

    def verify(self, hasher: _Hash) -> None:
        """Raises `ChecksumMismatch`."""
        if hasher.digest() != self.digest:
            raise ChecksumMismatch(f"The {self.algorithm} of the bytes received is not the one declared.")


@dataclass(frozen=True, slots=True)
class Creation:
    """POST. `length` is None when a later request declares it; `with_upload`: the body has the first bytes.

    `body_size` is the declared size of that body, None when chunked. `sha256` is what the whole upload must
    have in the end: Repr-Digest (RFC 9530), which is not part of tus.
    """

    length: int | None
    metadata: Metadata
    with_upload: bool
    body_size: int | None
    checksum: Checksum | None
    sha256: bytes | None = None


@dataclass(frozen=True, slots=True)
class Append:
    """PATCH. `length` is the length of the whole upload, if this request declares a deferred one."""

    offset: int
    length: int | None
    body_size: int | None
    checksum: Checksum | None


def effective_method(method: str, headers: RawHeaders) -> str:
    """`X-HTTP-Method-Override` if the request has it, else its method."""
    return fields_by_name(headers).get("x-http-method-override", method).upper()


def check_version(headers: RawHeaders) -> None:
    """Every request but OPTIONS must name the version; raises `UnsupportedTusVersion`."""
    version = fields_by_name(headers).get("tus-resumable")
    if version != VERSION:
        said = "names no tus version" if version is None else "is for another tus version"
        raise UnsupportedTusVersion(
            f"The request {said}; this server supports {VERSION}.", headers={"Tus-Version": VERSION}
        )


def parse_creation(headers: RawHeaders, *, max_size: int) -> Creation:
    """Raises `MalformedRequest`, `TooLarge`, and `UnsupportedContentType` for a body of another type."""
    fields = fields_by_name(headers)
    if "upload-concat" in fields:
        # If a partial upload were taken for a whole one, it would be published by itself.
        raise MalformedRequest("Concatenation is not supported.")
    deferred = fields.get("upload-defer-length")
    if deferred not in (None, "1"):
        raise MalformedRequest("Upload-Defer-Length can only be 1.")
    length = _integer(fields, "upload-length")
    if (length is None) == (deferred is None):
        raise MalformedRequest("Creating an upload needs either Upload-Length or Upload-Defer-Length.")
    _check_size(length, max_size)
    body_size = _integer(fields, "content-length")
    with_upload = _is_upload(fields)
    if not with_upload:
        if body_size or "transfer-encoding" in fields:
            raise UnsupportedContentType(f"The body of a creation must be {CONTENT_TYPE}.")
        body_size = 0
    if (body_size or 0) > (max_size if length is None else length):
        raise TooLarge("The body is longer than the declared upload.")
    return Creation(
        length=length,
        metadata=parse_metadata(fields.get("upload-metadata", "")),
        with_upload=with_upload,
        body_size=body_size,
        checksum=_checksum(fields),
        sha256=declared_sha256(fields.get("repr-digest")),
    )


def parse_append(headers: RawHeaders) -> Append:
    """Raises `UnsupportedContentType` and `MalformedRequest`."""
    fields = fields_by_name(headers)
    if not _is_upload(fields):
        raise UnsupportedContentType(f"The body of a PATCH must be {CONTENT_TYPE}.")
    offset = _integer(fields, "upload-offset")
    if offset is None:
        raise MalformedRequest("Upload-Offset is missing.")
    return Append(
        offset=offset,
        length=_integer(fields, "upload-length"),
        body_size=_integer(fields, "content-length"),
        checksum=_checksum(fields),
    )


def settle_length(known: int | None, append: Append, *, max_size: int) -> int | None:
    """The length of the upload after this append, whose offset must be right; None while it is not declared.

    Raises `MalformedRequest` when it would change a length that was set or lies before the offset, and
    `TooLarge` when it is too much, or the body would pass it.
    """
    length = known
    if append.length is not None:
        if known is not None and append.length != known:
            raise MalformedRequest("The length of an upload cannot change.")
        if append.length < append.offset:
            raise MalformedRequest("Upload-Length is less than what has been received.")
        _check_size(append.length, max_size)
        length = append.length
    limit = max_size if length is None else length
    if append.offset + (append.body_size or 0) > limit:
        raise TooLarge("The body goes beyond the end of the upload.")
    return length


def parse_metadata(raw: str) -> Metadata:
    """`key base64,key base64,key` (extension «creation»); raises `MalformedRequest`."""
    if len(raw) > METADATA_BYTES:
        raise MalformedRequest(
            f"Upload-Metadata has more than {METADATA_BYTES} bytes. Send longer texts in a PATCH."
        )
    pairs = raw.split(",") if raw else []
    if len(pairs) > METADATA_KEYS:
        raise MalformedRequest(f"Upload-Metadata has more than {METADATA_KEYS} keys.")
    values: dict[str, str] = {}
    for pair in pairs:
        key, _, encoded = pair.strip(" \t").partition(" ")
        if not _KEY.fullmatch(key):
            raise MalformedRequest("A key of Upload-Metadata is not visible ASCII.")
        if key in values:
            raise MalformedRequest(f"Upload-Metadata has the key {key!r} twice.")
        value = _base64(encoded.strip(" \t"), f"The value of {key!r} in Upload-Metadata")
        if b"\0" in value:
            raise MalformedRequest(f"The value of {key!r} in Upload-Metadata has a NUL character.")
        values[key] = decoded(value)
    return Metadata(raw, values)


def options_headers(*, max_size: int) -> dict[str, str]:
    """What this server supports, for the response to OPTIONS."""
    return {
        "Tus-Resumable": VERSION,
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Checksum-Algorithm": ",".join(CHECKSUM_ALGORITHMS),
        "Tus-Max-Size": str(max_size),
    }


def head_headers(
    *, offset: int, length: int | None, raw_metadata: str = "", expires: datetime | None = None
) -> dict[str, str]:
    """The state of an upload, for the response to HEAD."""
    headers = {**offset_headers(offset, expires), "Cache-Control": "no-store"}
    if length is None:
        headers["Upload-Defer-Length"] = "1"
    else:
        headers["Upload-Length"] = str(length)
    if 0 < len(raw_metadata) <= METADATA_BYTES:
        headers["Upload-Metadata"] = raw_metadata
    return headers


def offset_headers(offset: int, expires: datetime | None = None) -> dict[str, str]:
    """For the responses to PATCH and POST. `expires` has a time zone; None: the upload does not expire."""
    headers = {"Tus-Resumable": VERSION, "Upload-Offset": str(offset)}
    if expires is not None:
        headers["Upload-Expires"] = format_http_date(expires)
    return headers


_KEY = re.compile(r"[\x21-\x2b\x2d-\x7e]+")


def _integer(fields: Mapping[str, str], name: str) -> int | None:
    text = fields.get(name)
    if text is None:
        return None
    try:
        number = parse_length(text)
    except ValueError:
        number = TOO_LONG
    if number > LARGEST_INTEGER:
        raise MalformedRequest(f"{name.title()} is not a whole number from 0 to 2^63 - 1.")
    return number


def _check_size(length: int | None, max_size: int) -> None:
    if length is not None and length > max_size:
        raise TooLarge(
            f"An upload may have at most {max_size} bytes.", headers={"Tus-Max-Size": str(max_size)}
        )


def _is_upload(fields: Mapping[str, str]) -> bool:
    return essence_of(fields.get("content-type", "")) == CONTENT_TYPE


def _checksum(fields: Mapping[str, str]) -> Checksum | None:
    declared = fields.get("upload-checksum")
    if declared is None:
        return None
    algorithm, _, encoded = declared.partition(" ")
    if algorithm not in CHECKSUM_ALGORITHMS:
        raise MalformedRequest(f"Upload-Checksum must be one of {', '.join(CHECKSUM_ALGORITHMS)}.")
    digest = _base64(encoded.strip(" \t"), "Upload-Checksum")
    checksum = Checksum(algorithm, digest)
    if len(digest) != checksum.hasher().digest_size:
        raise MalformedRequest(f"Upload-Checksum does not have the size of a {algorithm}.")
    return checksum


def _base64(text: str, what: str) -> bytes:
    try:
        return binascii.a2b_base64(text.encode("latin-1"), strict_mode=True)
    except binascii.Error:
        raise MalformedRequest(f"{what} is not base64.") from None
