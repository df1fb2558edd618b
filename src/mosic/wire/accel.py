"""`X-Accel-Redirect`: the service decides, nginx sends the bytes (docs/nginx.md).

nginx makes its answer from the same request that the service has weighed. So it is asked to only where it is
known to come to the same answer (tests/web/test_stream_nginx.py compares them); all else goes through it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
_PLAIN_RANGE = re.compile(r"bytes=(?:[0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})")

Headers = Iterable[tuple[bytes, bytes]]


def can_hand_over(fields: Mapping[str, str], etag: str | None, status: int) -> bool:
    """Whether nginx can send the answer to a GET that the service would answer with `status`, 200 or 206.

    `fields` are the request's, with lower-case names. nginx is not told which preconditions were met: it
    would weigh them again, against validators of its own. A range must be one that both read alike, and
    If-Range the ETag, which nginx is told.
    """
    if any(name in fields for name in _CONDITIONS):
        return False
    asked = fields.get("range")
    if asked is None:
        return status == 200
    return (
        status == 206 and _PLAIN_RANGE.fullmatch(asked) is not None and fields.get("if-range") in (None, etag)
    )


def handed_over(headers: Headers, status: int, location: str) -> tuple[tuple[bytes, bytes], ...]:
    """What to answer nginx with: the fields of the answer that are not about its extent, and where the bytes
    are. nginx adds the others, and to a 200 Accept-Ranges too.
    """
    dropped = {b"content-length", b"content-range"} | ({b"accept-ranges"} if status == 200 else set())
    kept = [(name, value) for name, value in headers if name not in dropped]
    return (*kept, (b"content-length", b"0"), (b"x-accel-redirect", location.encode("ascii")))
