"""What the server checks in the head of a request before it passes it on: RFC 9112 §3 and §6.1, RFC 9110
§9.1."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache

from mosic.errors import (
    CodingNotImplemented,
    MalformedRequest,
    MethodNotImplemented,
    MosicError,
    TargetTooLong,
    VersionNotSupported,
)
from mosic.wire.grammar import TCHAR

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Those that some route allows."""

# TRACE is known, and no route allows it: 405 (RFC 9110 §15.5.6).
_METHODS = frozenset(method.encode("ascii") for method in (*METHODS, "TRACE"))
ASTERISK = b"*"

MAX_TARGET = 8192
"""Bytes of a request target: RFC 9112 §3 recommends 8000 for the request line, and common proxies take no
more. Parsing the parameters of a target of 60,000 would take a tenth of a second, and anybody may send
one."""

Fields = list[tuple[bytes, bytes]]

# RFC 3986 §3.2.2 and §3.2.3. A name in DNS has at most 253 characters.
_IN_NAME = rb"[A-Za-z0-9._~!$&'()*+,;=-]"
_MAX_HOST = 255 + len(":65535")
_HOST = re.compile(
    rb"(?:(?P<name>%s*(?:%%[0-9A-Fa-f]{2}%s*)*)|\[(?P<literal>[^\]]+)\])(?::(?P<port>[0-9]{0,5}))?"
    % (_IN_NAME, _IN_NAME)
)
_FUTURE_ADDRESS = re.compile(rb"v[0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+")
_ABSOLUTE = re.compile(rb"(?i:https?)://(?P<authority>[^/?#]*)(?P<rest>.*)")
_TOKEN = TCHAR.encode("ascii") + b"+"
# The first line of a request, or as much of it as has arrived.
_BEGINNING = re.compile(
    rb"[\r\n]*(?P<method>%s)(?:\Z| (?:[^\x00-\x20\x7f]+(?:\Z| (?P<version>[^\r\n]*))|\Z))" % _TOKEN
)
# The parser reads RTSP as if it were HTTP/1.0.
_RTSP = re.compile(rb"[\r\n]*%s [^\x00-\x20\x7f]+ (?!HTTP/)" % _TOKEN)
_REQUEST_LINE = re.compile(rb"^(?P<method>%s) [^\x00-\x20\x7f]+ HTTP/[0-9]\.[0-9]\r?$" % _TOKEN, re.MULTILINE)


def check_head(
    method: bytes, version: str, target: bytes, fields: Fields, by_name: Mapping[bytes, bytes]
) -> tuple[bytes, Fields]:
    """Returns the target, in origin-form or `*`, and the fields. A target in absolute-form replaces the Host.

    Names of fields are lower-case; `by_name` has the last field of each name; `version` is such as "1.1".
    Raises `MalformedRequest`, `MethodNotImplemented`, `TargetTooLong`.
    """
    if method not in _METHODS:
        raise _not_implemented()
    if len(target) > MAX_TARGET:
        raise TargetTooLong(
            f"The request target may have at most {MAX_TARGET} bytes. Send long texts in a form or a PATCH."
        )
    host = by_name.get(b"host")
    if host is None:
        if version != "1.0":
            raise MalformedRequest("The request has no Host field.")
    elif len(by_name) != len(fields) and sum(name == b"host" for name, _ in fields) > 1:
        raise MalformedRequest("The request has more than one Host field.")
    elif not is_host(host):
        raise MalformedRequest("The Host field is not a host with an optional port.")
    if target.startswith(b"/"):
        return target, fields
    if target == ASTERISK and method == b"OPTIONS":
        return target, fields
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not is_host(absolute["authority"]):
        raise MalformedRequest("The target of the request is neither a path nor an http URL.")
    rest = absolute["rest"]
    if not rest and method == b"OPTIONS":
        rest = ASTERISK  # RFC 9112 §3.2.4
    elif not rest.startswith(b"/"):
        rest = b"/" + rest
    others = [field for field in fields if field[0] != b"host"]
    return rest, [(b"host", absolute["authority"]), *others]


def check_protocol(text: bytes, version: str) -> None:
    """The response to a higher minor version is in 1.1 (RFC 9110 §2.5). `text` begins with the request, or
    with an earlier one. Raises `VersionNotSupported`."""
    if not version.startswith("1.") or _RTSP.match(text):
        raise VersionNotSupported("Send HTTP/1.1.")


def is_host(text: bytes) -> bool:
    """Whether `text` is a host, not empty, with an optional port."""
    return len(text) <= _MAX_HOST and _is_host(text)


@lru_cache(maxsize=64)  # the clients of a service use few names for it
def _is_host(text: bytes) -> bool:
    found = _HOST.fullmatch(text)
    if found is None or int(found["port"] or b"0") > 65535:
        return False
    literal = found["literal"]
    if literal is None:
        return found["name"] != b""
    if _FUTURE_ADDRESS.fullmatch(literal):
        return True
    try:
        # A URL has no zone in an IPv6 address.
        return b"%" not in literal and bool(ipaddress.IPv6Address(literal.decode("ascii")).exploded)
    except ValueError:
        return False


def check_codings(codings: list[bytes], version: str) -> None:
    """Checks the values of Transfer-Encoding, of which only `chunked` is supported. Raises
    `CodingNotImplemented`, `MalformedRequest`."""
    if version == "1.0":
        raise MalformedRequest("A request of HTTP/1.0 cannot have Transfer-Encoding.")
    names = [name for value in codings for part in value.split(b",") if (name := part.strip(b" \t").lower())]
    if names == [b"chunked"]:
        return
    if names.count(b"chunked") > 1 or (b"chunked" in names and names[-1] != b"chunked"):
        raise MalformedRequest("In Transfer-Encoding, `chunked` must come once, as the last coding.")
    raise CodingNotImplemented("The only transfer coding that is supported is `chunked`.")


def refusal_of_unread(text: bytes) -> MosicError:
    """The error for a request that the parser could not read. `text` is what arrived, from the beginning of
    this or of an earlier request on."""
    beginning = _BEGINNING.match(text)
    if beginning is not None and beginning["method"] not in _METHODS:
        version = beginning["version"] or b""
        if b"HTTP/1.".startswith(version[:7]):
            return _not_implemented()
    elif any(line["method"] not in _METHODS for line in _REQUEST_LINE.finditer(text)):
        return _not_implemented()
    return MalformedRequest("Invalid HTTP request received.")


def _not_implemented() -> MethodNotImplemented:
    return MethodNotImplemented(f"Supported methods: {', '.join(METHODS)}.")
