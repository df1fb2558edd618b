"""`X-Accel-Redirect`: the service decides, nginx sends the bytes (docs/nginx.md).

nginx makes its response from the same request that the service has weighed. So it does that only where it is
known to come to the same result (tests/web/test_stream_nginx.py compares them); all else goes through it.
"""

from __future__ import annotations

from collections.abc import Iterable

from mosic.wire.retrieval import Retrieval

Headers = Iterable[tuple[bytes, bytes]]


def can_hand_over(asked: Retrieval, etag: str | None, status: int) -> bool:
    """Whether nginx can send the response to a GET that would have `status`, 200 or 206, from the service.

    nginx does not know which preconditions were met: it would weigh them again, against validators of its
    own. A range must be a single one in its plainest form, which all read alike, and If-Range the ETag, which
    nginx is given.
    """
    if_range = None
    if asked.preconditions is not None:
        if asked.preconditions.sent.keys() != {"if-range"}:
            return False
        if_range = asked.preconditions.if_range
    if asked.range_sent is None:
        return status == 200
    if status != 206 or asked.ranges is None or len(asked.ranges) != 1:
        return False
    return asked.range_sent == str(asked.ranges[0]) and if_range in (None, etag)


def handed_over(headers: Headers, status: int, location: str) -> tuple[tuple[bytes, bytes], ...]:
    """What nginx gets: the fields of the response that are not about its extent, and where the bytes are.
    nginx adds the others, and to a 200 Accept-Ranges too.
    """
    dropped = {b"content-length", b"content-range"} | ({b"accept-ranges"} if status == 200 else set())
    kept = [(name, value) for name, value in headers if name not in dropped]
    return (*kept, (b"content-length", b"0"), (b"x-accel-redirect", location.encode("ascii")))
