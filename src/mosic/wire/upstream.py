"""What is asked of the source of an external clip, and what of its answer is passed on to the listener.

The source is a stranger: nothing it says goes further unless it is named here, well-formed, and an answer to
what was asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mosic.errors import RemoteFailed

REDIRECTS = frozenset((301, 302, 303, 307, 308))

_PRECONDITIONS = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")
# Which field makes a source answer so; 200 needs none.
_ANSWERS: Mapping[int, tuple[str, ...]] = {
    200: (),
    206: ("Range",),
    304: ("If-None-Match", "If-Modified-Since"),
    412: ("If-Match", "If-Unmodified-Since"),
    416: ("Range",),
}
_ONE_RANGE = re.compile(r"bytes=[ \t]*([0-9]{1,19}-[0-9]{0,19}|-[0-9]{1,19})[ \t]*", re.IGNORECASE)
_VISIBLE = re.compile(r"[\x20-\x7e]+")
_SIZE = re.compile(r"[0-9]{1,19}")
# Bounded, like the media type: a stranger must not make the head of an answer too long for proxies.
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,256}"')
_LAST_MODIFIED = re.compile(r"[\x20-\x7e]{1,64}")
_MEDIA_TYPE_LENGTH = 200
_SATISFIED = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
_UNSATISFIED = re.compile(r"bytes \*/[0-9]{1,19}")
_AUDIO = re.compile(
    r"""(?:audio|video)/[a-z0-9.+_-]+ | application/(?:ogg|octet-stream)""", re.IGNORECASE | re.VERBOSE
)
_PARAMETERS = re.compile(r"""(?:[ ]*;[ ]*[a-z0-9_-]+=(?:[a-z0-9.+_-]+|"[a-z0-9.,+ _-]*"))*""", re.IGNORECASE)
_UNNAMED_TYPES = ("", "binary/octet-stream", "application/x-binary", "application/force-download")


def asked_fields(method: str, fields: Mapping[str, str]) -> dict[str, str]:
    """Those of the client's fields that go to the source: the preconditions and one range of bytes.

    A Range with several members, another unit or broken syntax is left out, and If-Range with it, so that the
    answer is the whole (RFC 9110 §14.2 allows to ignore it): a multipart answer would have to be trusted part
    by part. A HEAD has no range either (§14.2 defines it for GET alone).
    """
    given = {name.lower(): value for name, value in fields.items() if _VISIBLE.fullmatch(value)}
    asked = {name: given[name.lower()] for name in _PRECONDITIONS if name.lower() in given}
    if method == "GET" and _ONE_RANGE.fullmatch(given.get("range", "")):
        asked["Range"] = given["range"]
        if "if-range" in given:
            asked["If-Range"] = given["if-range"]
    return asked


def passed_headers(
    status: int, asked: Mapping[str, str], answer: Iterable[tuple[str, str]]
) -> dict[str, str]:
    """The headers that the listener gets, or `RemoteFailed` when the answer is none that can be passed on.

    Passed: Content-Type (audio, video, Ogg or plain bytes), Content-Length, Content-Range, Accept-Ranges,
    ETag and Last-Modified, each only when well-formed. Failed: a status that was not asked for; a coded body,
    for its ranges would be ranges of other bytes; a type that is not audio; a 206 that does not say what part
    it is, whose length contradicts that, or that is another part than was asked for. So every 206 has both,
    and a body that comes in chunks may still turn out to be of another length.
    """
    if status not in _ANSWERS or (_ANSWERS[status] and not any(name in asked for name in _ANSWERS[status])):
        raise RemoteFailed(f"The external source responded with status {status}.")
    found: dict[str, str] = {}
    for name, value in answer:
        # Repeated lines are one list (RFC 9110 §5.3), which is well-formed for none of the fields read here.
        before = found.get(name.lower())
        found[name.lower()] = value if before is None else f"{before}, {value}"

    headers: dict[str, str] = {}
    if status in (200, 206):
        headers |= _content_headers(status, asked, found)
    elif status == 416 and _UNSATISFIED.fullmatch(found.get("content-range", "")):
        headers["Content-Range"] = found["content-range"]
    if found.get("accept-ranges", "").lower() in ("bytes", "none"):
        headers["Accept-Ranges"] = found["accept-ranges"].lower()
    if _ETAG.fullmatch(found.get("etag", "")):
        headers["ETag"] = found["etag"]
    if _LAST_MODIFIED.fullmatch(found.get("last-modified", "")):
        headers["Last-Modified"] = found["last-modified"]
    return headers


def _content_headers(status: int, asked: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    if found.get("content-encoding", "").strip().lower() not in ("", "identity"):
        raise RemoteFailed("The external source sent the audio compressed, although that was not requested.")
    chunked = "transfer-encoding" in found
    if chunked and found["transfer-encoding"].strip().lower() != "chunked":
        raise RemoteFailed("The external source sent the audio in an encoding that was not requested.")
    headers = {"Content-Type": _media_type(found.get("content-type", ""))}
    length = found.get("content-length", "")
    # RFC 9112 §6.3: Transfer-Encoding overrides Content-Length.
    if not chunked and _SIZE.fullmatch(length):
        headers["Content-Length"] = length
    if status == 206:
        part = _SATISFIED.fullmatch(found.get("content-range", ""))
        if part is None:
            raise RemoteFailed("The external source sent a part without a usable Content-Range.")
        first, last = int(part[1]), int(part[2])
        if first > last or (part[3] != "*" and last >= int(part[3])):
            raise RemoteFailed("The external source sent an impossible Content-Range.")
        size = None if part[3] == "*" else int(part[3])
        if not _answers(asked["Range"], first, last, size) or _is_of_another(asked, found.get("etag", "")):
            raise RemoteFailed("The external source sent another part than was requested.")
        if headers.setdefault("Content-Length", str(last - first + 1)) != str(last - first + 1):
            raise RemoteFailed(
                "The external source sent a part whose length does not match its Content-Range."
            )
        headers["Content-Range"] = found["content-range"]
    return headers


def _answers(asked: str, first: int, last: int, size: int | None) -> bool:
    """Whether a part lies where the one range that was asked for does. It may end earlier, for it says so
    (RFC 9110 §15.3.7), but a part from elsewhere would be played as what was asked for."""
    start, _, stop = asked.partition("=")[2].strip(" \t").partition("-")
    if start:
        return first == int(start) and (not stop or last <= int(stop))
    if size is None:
        return last - first < int(stop)
    return first == max(size - int(stop), 0)


def _is_of_another(asked: Mapping[str, str], etag: str) -> bool:
    """Whether the part is of another representation than the one that If-Range names (§13.1.5)."""
    wanted = asked.get("If-Range", "")
    return wanted.startswith('"') and etag not in ("", wanted)


def _media_type(value: str) -> str:
    essence, semicolon, parameters = (part.strip() for part in value.partition(";"))
    if essence.lower() in _UNNAMED_TYPES:
        return "application/octet-stream"
    if not _AUDIO.fullmatch(essence) or len(essence) > _MEDIA_TYPE_LENGTH:
        raise RemoteFailed("The external source sent something that is not audio.")
    whole = f"{essence.lower()}; {parameters}"
    if semicolon and len(whole) <= _MEDIA_TYPE_LENGTH and _PARAMETERS.fullmatch(f";{parameters}"):
        return whole
    return essence.lower()
