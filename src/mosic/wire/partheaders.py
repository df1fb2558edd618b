"""What the headers of a form and of its parts say (RFC 7578, 6266), as clients really write them."""

from __future__ import annotations

import re

from mosic.errors import MalformedRequest
from mosic.wire.charsets import decoded
from mosic.wire.filenames import extended_file_name, plain_file_name, without_browser_escapes
from mosic.wire.grammar import CONTROL, TCHAR

_BOUNDARY = re.compile(r"[\x21-\x7e]|[\x21-\x7e][\x20-\x7e]*[\x21-\x7e]")
_PARAMETER = re.compile(
    rf"""[ \t]*;[ \t]*  # an empty parameter is tolerated
        (?:({TCHAR}++)[ \t]*=[ \t]*
           (?:"((?:[^"\\]|\\.)*)"|([^;"]*+)))?""",
    re.VERBOSE,
)
# A quote in a name arrives as \" (RFC 9110 §5.6.4; curl) or %22 (WHATWG HTML §4.10.21.8; browsers). Browsers
# send a backslash as it is and Internet Explorer sent whole paths, so other characters are not unescaped.
_ESCAPED = re.compile(r'\\(["\\])')
# The start of a parameter of Content-Disposition; without a name it is empty, which is tolerated.
_NAME = re.compile(rf"[ \t]*;[ \t]*(?:({TCHAR}+)[ \t]*=[ \t]*)?")
_FOLLOWS = rf"(?=$|;[ \t;]*(?:$|{TCHAR}+[ \t]*=))"
_QUOTED = re.compile(rf'"((?:[^"\\]|\\.)*)"[ \t]*{_FOLLOWS}')
_NEXT = re.compile(rf";[ \t]*(?:$|{TCHAR}+[ \t]*=)")
_CONTROL = re.compile(CONTROL)
_SEPARATOR = re.compile(";")
_LAST_QUOTE = re.compile(rf'"[ \t]*{_FOLLOWS}')


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
    # Only `charset` is of any use beside the boundary: no honest client sends a long header.
    if len(content_type) > longest + 256:
        raise MalformedRequest("The Content-Type of the request is too long.")
    media_type, parameters = _parameters(content_type)
    if media_type != "multipart/form-data":
        raise MalformedRequest("The request is not multipart/form-data.")
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary) or len(boundary) > longest:
        raise MalformedRequest("The Content-Type of the request names no usable boundary.")
    return boundary.encode("ascii")


def charset_of(content_type: str | None) -> str | None:
    """The `charset` that the Content-Type of a part names, if it can be read."""
    try:
        return _parameters(content_type)[1].get("charset") if content_type else None
    except MalformedRequest:
        return None


def disposition_of(header: bytes | None, longest_name: int) -> tuple[str, str | None]:
    """Name and file name of a part (RFC 7578 §4.2). Raises `MalformedRequest` for want of a usable name.

    A file name never refuses the part: one that cannot be read is empty. Several clients write quotes and
    backslashes into it as they are (`filename="Song (12" mix).mp3"`), so it then ends at the first quote that
    only the end or another parameter can follow.
    """
    if header is None:
        raise MalformedRequest("A part of the form has no Content-Disposition.")
    kind, given = _disposition_parameters(header.decode("latin-1"))
    if kind != "form-data" or "name" not in given or _CONTROL.search(given["name"]):
        raise MalformedRequest("A part of the form has no name.")
    name = decoded(without_browser_escapes(given["name"]).encode("latin-1"))
    if len(name.encode()) > longest_name:
        raise MalformedRequest("The name of a part is too long.")
    given = {parameter: _CONTROL.sub("", value) for parameter, value in given.items()}
    plain = plain_file_name(given["filename"]) if "filename" in given else None
    if "filename*" in given:  # wins when it can be read (RFC 6266 §4.3)
        return name, extended_file_name(given["filename*"], instead=plain)
    return name, plain or _in_sections(given, instead=plain)


def _in_sections(given: dict[str, str], *, instead: str | None) -> str | None:
    """A file name that is cut into `filename*0`, `filename*1` and so on (RFC 2231 §3), as libraries for mail
    write a long one; `instead` where there is none. Sections with a star at the end are percent-encoded, and
    the first names the encoding."""
    sections: list[str] = []
    encoded = "filename*0*" in given
    while True:
        section = f"filename*{len(sections)}"
        if f"{section}*" in given:
            sections.append(given[f"{section}*"])
        elif section in given:
            sections.append(given[section].replace("%", "%25") if encoded else given[section])
        else:
            break
    if not sections:
        return instead
    joined = "".join(sections)
    return extended_file_name(joined, instead=None) if encoded else plain_file_name(joined)


def _disposition_parameters(header: str) -> tuple[str, dict[str, str]]:
    head, semicolon, rest = header.partition(";")
    text = semicolon + rest.rstrip(" \t")
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _NAME.match(text, position)
        if match is None:
            raise MalformedRequest("The Content-Disposition of a part could not be read.")
        position = match.end()
        if match[1] is None:
            continue
        name = match[1].lower()
        value, position = _value(text, position, lenient=name.startswith("filename"))
        if name == "name" and name in found:
            raise MalformedRequest("A part of the form has two names.")
        found.setdefault(name, value)
    return head.strip(" \t").lower(), found


def _value(text: str, start: int, *, lenient: bool) -> tuple[str, int]:
    """The value that begins at `start`, and where the next parameter does."""
    if match := _QUOTED.match(text, start):
        return _ESCAPED.sub(r"\1", match[1]), match.end()
    quoted = text.startswith('"', start)
    if quoted and not lenient:
        raise MalformedRequest("The name of a part could not be read.")
    if quoted and (last := _LAST_QUOTE.search(text, start + 1)):
        return _ESCAPED.sub(r"\1", text[start + 1 : last.start()]), last.end()
    following = (_NEXT if lenient else _SEPARATOR).search(text, start)
    end = following.start() if following else len(text)
    return text[start + quoted : end].rstrip(" \t"), end
