"""What the headers of a form and of its parts say (RFC 7578, 6266, 8187), as clients really write them."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from mosic.errors import MalformedRequest

_BOUNDARY = re.compile(r"[\x21-\x7e]|[\x21-\x7e][\x20-\x7e]*[\x21-\x7e]")
_PARAMETER = re.compile(
    r"""[ \t]*;[ \t]*  # an empty parameter is tolerated
        (?:([!#$%&'*+.^_`|~0-9A-Za-z-]++)[ \t]*=[ \t]*
           (?:"((?:[^"\\]|\\.)*)"|([^;"]*+)))?""",
    re.VERBOSE,
)
# A quote in a name arrives as \" (RFC 9110 §5.6.4; curl) or %22 (WHATWG HTML §4.10.21.8; browsers). Browsers
# send a backslash as it is and Internet Explorer sent whole paths, so other characters are not unescaped.
_ESCAPED = re.compile(r'\\(["\\])')
_BROWSER_ESCAPES = {"%22": '"', "%0d": "\r", "%0a": "\n"}
_BROWSER_ESCAPED = re.compile("|".join(_BROWSER_ESCAPES), re.IGNORECASE)
_EXTENDED = re.compile(
    r"(utf-8|iso-8859-1)'[0-9A-Za-z-]*'((?:[!#$&+.^_`|~0-9A-Za-z-]|%[0-9A-Fa-f]{2})*)", re.I
)


def _text(raw: bytes) -> str:
    """The text of a name or field: UTF-8 as every browser sends it, else Latin-1, which reads anything."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _parameters(header: str) -> tuple[str, dict[str, str]]:
    """Splits `value; name=value; …` (RFC 9110 §5.6.6). Value and names come out in lower case."""
    head, semicolon, rest = header.partition(";")
    rest = semicolon + rest.rstrip(" \t")
    found: dict[str, str] = {}
    position = 0
    while position < len(rest):
        match = _PARAMETER.match(rest, position)
        if match is None:
            raise MalformedRequest(f"A parameter of {head.strip()!r} could not be read.")
        position = match.end()
        name, quoted, plain = match.groups()
        if name is None:
            continue
        if name.lower() in found:
            raise MalformedRequest(f"The parameter {name!r} is given twice.")
        found[name.lower()] = plain.rstrip(" \t") if quoted is None else _ESCAPED.sub(r"\1", quoted)
    return head.strip(" \t").lower(), found


def boundary_of(content_type: str, longest: int) -> bytes:
    """The boundary that a Content-Type header names. Raises `MalformedRequest` when there is none, or one of
    more than `longest` bytes."""
    # Beside the boundary only `charset` has any use; a long header is long for no good reason.
    if len(content_type) > longest + 256:
        raise MalformedRequest("The Content-Type of the request is too long.")
    media_type, parameters = _parameters(content_type)
    if media_type != "multipart/form-data":
        raise MalformedRequest("The request is not multipart/form-data.")
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary) or len(boundary) > longest:
        raise MalformedRequest("The Content-Type of the request names no usable boundary.")
    return boundary.encode("ascii")


def disposition_of(header: bytes | None, longest_name: int) -> tuple[str, str | None]:
    """Name and file name of a part (RFC 7578 §4.2). Raises `MalformedRequest`."""
    if header is None:
        raise MalformedRequest("A part of the form has no Content-Disposition.")
    kind, parameters = _parameters(header.decode("latin-1"))
    if kind != "form-data" or "name" not in parameters:
        raise MalformedRequest("A part of the form has no name.")
    name = _name_from(parameters["name"])
    if len(name.encode()) > longest_name:
        raise MalformedRequest("The name of a part is too long.")
    file_name = _name_from(parameters["filename"]) if "filename" in parameters else None
    if "filename*" in parameters:  # wins when it can be read (RFC 6266 §4.3)
        extended = _extended(parameters["filename*"])
        if extended is None and file_name is None:
            raise MalformedRequest("The file name of a part could not be read.")
        file_name = file_name if extended is None else extended
    return name, file_name


def _name_from(value: str) -> str:
    value = _BROWSER_ESCAPED.sub(lambda match: _BROWSER_ESCAPES[match[0].lower()], value)
    return _text(value.encode("latin-1"))


def _extended(value: str) -> str | None:
    """Decodes `charset'language'percent-encoded` (RFC 8187 §3.2), or None when it is not that."""
    match = _EXTENDED.fullmatch(value)
    if match is None:
        return None
    try:
        text = unquote_to_bytes(match[2]).decode(match[1])
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
