"""Framing of several slices in one response: `multipart/byteranges` (RFC 9110 §14.6, RFC 2046 §5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mosic.wire.ranges import Slice

# A token: RFC 2046 allows more, in quotes, which some clients read wrongly (§14.6, note 2).
_BOUNDARY = re.compile(r"[0-9A-Za-z'+_.-]{1,70}")


@dataclass(frozen=True, slots=True)
class ByteRanges:
    """The body is, for each part in order, its head and then the bytes of its slice; at the end `closing`."""

    content_type: str
    """For the header section, which must not carry a Content-Range (§15.3.7.2)."""

    parts: tuple[tuple[bytes, Slice], ...]
    closing: bytes
    length: int
    """The Content-Length of the whole body."""


def frame(slices: Sequence[Slice], size: int, media_type: str, boundary: str) -> ByteRanges:
    """Frame `slices` of a file of `size` bytes; `media_type` is the Content-Type a 200 would have.

    `boundary` must not occur in the bytes: 16 random bytes in hex will not, one that an uploader can foresee
    may. Raises ValueError when it is not a token of 1–70 characters.
    """
    if _BOUNDARY.fullmatch(boundary) is None:
        raise ValueError(f"{boundary!r} is not a boundary of 1-70 token characters")
    parts = []
    opening = "--"
    for piece in slices:
        head = f"{opening}{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: "
        parts.append((b"%b%b\r\n\r\n" % (head.encode("latin-1"), piece.content_range(size)), piece))
        opening = "\r\n--"
    closing = f"\r\n--{boundary}--\r\n".encode("ascii")
    length = sum(len(head) + piece.size for head, piece in parts) + len(closing)
    return ByteRanges(f"multipart/byteranges; boundary={boundary}", tuple(parts), closing, length)
