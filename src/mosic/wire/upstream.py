"""What is asked of the source of an external clip, and what of its response is passed on to the listener.

The source is not trusted: nothing it says goes further unless it is named here, well-formed, and fits what
was asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mosic.errors import RemoteFailed
from mosic.wire.fields import TOO_LONG, Lines, essence_of, fields_by_name, parse_length
from mosic.wire.ranges import AskedRange, ContentRange, IntRange, Slice, parse_content_range
from mosic.wire.retrieval import Retrieval

REDIRECTS = frozenset((301, 302, 303, 307, 308))

_PRECONDITIONS = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")
# The statuses that are passed on, each with the fields of which one must have been sent; 200 needs none.
_STATUSES: Mapping[int, tuple[str, ...]] = {
    200: (),
    206: ("Range",),
    304: ("If-None-Match", "If-Modified-Since"),
    412: ("If-Match", "If-Unmodified-Since"),
    416: ("Range",),
}
_VISIBLE = re.compile(r"[\x20-\x7e]+")
# Bounded, like the media type: the source must not make the head of a response too long for proxies.
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,256}"')
_LAST_MODIFIED = re.compile(r"[\x20-\x7e]{1,64}")
_MEDIA_TYPE_LENGTH = 200
_AUDIO = re.compile(
    r"""(?:audio|video)/[a-z0-9.+_-]+ | application/(?:ogg|octet-stream)""", re.IGNORECASE | re.VERBOSE
)
_PARAMETERS = re.compile(r"""(?:[ ]*;[ ]*[a-z0-9_-]+=(?:[a-z0-9.+_-]+|"[a-z0-9.,+ _-]*"))*""", re.IGNORECASE)
_UNNAMED_TYPES = ("", "binary/octet-stream", "application/x-binary", "application/force-download")


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """What is sent to the source: `headers`, of which `range` is the one that they ask for."""

    headers: Mapping[str, str]
    range: AskedRange | None = None


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """A response of the source, checked: `headers` are safe to be sent on as they are."""

    status: int
    headers: Mapping[str, str]
    length: int | None = None
    """Of the body, in bytes; None when the source does not say it."""

    content_range: ContentRange | None = None
    """Of a 206 always, with its part; of a 416 when the source says the size of the whole."""


def request_of(asked: Retrieval) -> UpstreamRequest:
    """What the source is asked: the client's preconditions, as they came, and one range of bytes.

    Several ranges are left out, and If-Range with them, so that the response is the whole (RFC 9110 §14.2
    allows to ignore them): a multipart response would have to be trusted part by part.
    """
    sent = asked.preconditions.sent if asked.preconditions is not None else {}
    given = {name: value for name, value in sent.items() if _VISIBLE.fullmatch(value)}
    headers = {name: given[name.lower()] for name in _PRECONDITIONS if name.lower() in given}
    if asked.ranges is None or len(asked.ranges) != 1:
        return UpstreamRequest(headers)
    headers["Range"] = str(asked.ranges[0])
    if "if-range" in given:
        headers["If-Range"] = given["if-range"]
    return UpstreamRequest(headers, asked.ranges[0])


def read_response(status: int, request: UpstreamRequest, fields: Lines) -> UpstreamResponse:
    """What the listener gets, or `RemoteFailed` when the response is none that can be passed on.

    Passed: Content-Type (audio, video, Ogg or plain bytes), Content-Length, Content-Range, Accept-Ranges,
    ETag and Last-Modified, each only when well-formed. Failed: a status that was not asked for; a coded body,
    for its ranges would be ranges of other bytes; a type that is not audio; a 206 that does not say what part
    it is, whose length contradicts that, or that is another part than was asked for. So every 206 has both,
    and a body that comes in chunks may still turn out to be of another length.
    """
    needed = _STATUSES.get(status)
    if needed is None or (needed and not any(name in request.headers for name in needed)):
        raise RemoteFailed(f"The external source responded with status {status}.")
    # A list of several lines is well-formed for none of the fields read here.
    found = fields_by_name(fields)
    headers: dict[str, str] = {}
    length: int | None = None
    content_range: ContentRange | None = None
    if status in (200, 206):
        headers["Content-Type"] = _media_type(found.get("content-type", ""))
        length = _length(found)
        if status == 206:
            content_range = _part(request, found)
            assert content_range.part is not None
            if length not in (None, content_range.part.size):
                raise RemoteFailed(
                    "The external source sent a part whose length does not match its Content-Range."
                )
            length = content_range.part.size
    elif status == 416:
        unsatisfied = parse_content_range(found.get("content-range", ""))
        content_range = unsatisfied if unsatisfied is not None and unsatisfied.part is None else None
    if length is not None:
        headers["Content-Length"] = str(length)
    if content_range is not None:
        headers["Content-Range"] = str(content_range)
    if found.get("accept-ranges", "").lower() in ("bytes", "none"):
        headers["Accept-Ranges"] = found["accept-ranges"].lower()
    if _ETAG.fullmatch(found.get("etag", "")):
        headers["ETag"] = found["etag"]
    if _LAST_MODIFIED.fullmatch(found.get("last-modified", "")):
        headers["Last-Modified"] = found["last-modified"]
    return UpstreamResponse(status, headers, length, content_range)


def _length(found: Mapping[str, str]) -> int | None:
    """The length of the body, which is neither compressed nor in a coding but chunks."""
    if found.get("content-encoding", "").lower() not in ("", "identity"):
        raise RemoteFailed("The external source sent the audio compressed, although that was not requested.")
    if "transfer-encoding" in found:
        if found["transfer-encoding"].lower() != "chunked":
            raise RemoteFailed("The external source sent the audio in an encoding that was not requested.")
        return None  # RFC 9112 §6.3: Transfer-Encoding overrides Content-Length.
    try:
        length = parse_length(found.get("content-length", ""))
    except ValueError:
        return None
    return length if length < TOO_LONG else None


def _part(request: UpstreamRequest, found: Mapping[str, str]) -> ContentRange:
    content_range = parse_content_range(found.get("content-range", ""))
    if content_range is None or content_range.part is None:
        raise RemoteFailed("The external source sent a part without a usable Content-Range.")
    assert request.range is not None
    if not _lies_in(content_range.part, request.range, content_range.size) or _is_of_another(
        request.headers.get("If-Range", ""), found.get("etag", "")
    ):
        raise RemoteFailed("The external source sent another part than was requested.")
    return content_range


def _lies_in(part: Slice, asked: AskedRange, size: int | None) -> bool:
    """Whether a part lies where the range that was asked for does. It may end earlier, for it says so
    (RFC 9110 §15.3.7), but a part from elsewhere would be played as what was asked for."""
    if isinstance(asked, IntRange):
        return part.start == asked.first and (asked.last is None or part.stop <= asked.last + 1)
    if size is None:
        return part.size <= asked.length
    return part.start == max(size - asked.length, 0)


def _is_of_another(if_range: str, etag: str) -> bool:
    """Whether the part is of another representation than the one that If-Range names (§13.1.5)."""
    return if_range.startswith('"') and etag not in ("", if_range)


def _media_type(value: str) -> str:
    essence = essence_of(value)
    if essence in _UNNAMED_TYPES:
        return "application/octet-stream"
    if not _AUDIO.fullmatch(essence) or len(essence) > _MEDIA_TYPE_LENGTH:
        raise RemoteFailed("The external source sent something that is not audio.")
    parameters = value.partition(";")[2].strip(" \t")
    whole = f"{essence}; {parameters}"
    if parameters and len(whole) <= _MEDIA_TYPE_LENGTH and _PARAMETERS.fullmatch(f";{parameters}"):
        return whole
    return essence
