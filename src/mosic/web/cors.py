"""Cross-origin requests: what web pages of other origins may send and read (`MOSIC_CORS_ORIGINS`)."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from mosic.errors import BadRequest
from mosic.web.errors import ProblemResponse
from mosic.wire import tus
from mosic.wire.trash import RESTORABLE_UNTIL

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
# Beside those of tus: the key, ranges and preconditions (RFC 9110 §13, §14), digests (RFC 9530); and what
# players and libraries add that fetch audio by scripts.
_REQUEST_HEADERS = (
    "Accept-Encoding",
    "Authorization",
    "Cache-Control",
    "Icy-MetaData",
    "Pragma",
    "X-API-Key",
    "X-Requested-With",
    "X-Request-ID",
    "Range",
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
    "If-Range",
    "Content-Digest",
    "Repr-Digest",
    # Of libraries that send a file in parts: without them a page would learn nothing of why that is refused.
    "Content-Disposition",
    "Content-Range",
)
_RESPONSE_HEADERS = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Length",
    "Content-Range",
    "Date",
    "ETag",
    "Last-Modified",
    "Link",
    "Mosic-Ignored-Fields",
    RESTORABLE_UNTIL,
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-ID",
    "X-Total-Count",
)


class Cors(CORSMiddleware):
    """ASGI. Starlette's, with a refusal like every other one. The key goes in a header of its own, so cookies
    and the like (`credentials`) are never asked for.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=(*_REQUEST_HEADERS, *tus.REQUEST_HEADERS.split(", ")),
            expose_headers=(*_RESPONSE_HEADERS, *tus.RESPONSE_HEADERS.split(", ")),
            max_age=3600,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        headers = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        return ProblemResponse(BadRequest(bytes(response.body).decode(), headers=headers))
