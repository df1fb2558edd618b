"""Errors → responses: the one place that gives an error its status, fields and bytes (RFC 9457)."""

from __future__ import annotations

import json
from typing import NamedTuple

from mosic.errors import MosicError

MEDIA_TYPE = "application/problem+json"

ERROR_PAGE = "/docs/errors"
"""Where the service explains its errors. `type` is this with the code behind `#`: a reference without a host,
the same for every client, which leads to the service that sent the response (RFC 9457 §3.1.1)."""

PREFIX_OF = "mosic.prefix_of"
"""In the state of the lifespan: gives the path below which clients reach the service, for the scope of a
request, or for None."""

NO_SNIFFING = (b"x-content-type-options", b"nosniff")
"""For every response: browsers must not guess another type from the bytes."""

# A response may quote the request, and must not grow with it.
_LONGEST_DETAIL = 1000


class ErrorResponse(NamedTuple):
    """All that is sent of an error, whoever sends it. Names of `fields` are lower-case."""

    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes


def error_response(error: MosicError, *, prefix: str = "", request_id: str | None = None) -> ErrorResponse:
    """For clients that reach the service below the path `prefix`. `request_id` is for those that nothing else
    gives an X-Request-ID."""
    body = _document(error, prefix)
    named = {
        "content-type": MEDIA_TYPE,
        "content-length": str(len(body)),
        **{name.lower(): value for name, value in error.headers.items()},
    }
    if request_id is not None:
        named["x-request-id"] = request_id
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
    return ErrorResponse(error.status, [*fields, NO_SNIFFING], body)


def _document(error: MosicError, prefix: str) -> bytes:
    """In UTF-8. Ends in a newline, for people at terminals."""
    members = {
        "type": f"{prefix}{ERROR_PAGE}#{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": cut(error.detail, _LONGEST_DETAIL),
        "code": error.code,
        **error.extra,
    }
    text = json.dumps(members, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f"{text}\n".encode()


def cut(text: str, length: int) -> str:
    """At most `length` characters of the text, and an ellipsis for the rest."""
    return text if len(text) <= length else f"{text[:length]}…"
