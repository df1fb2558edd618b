"""What is wrong with a request, on any route."""

from __future__ import annotations

from typing import Any

from mosic.errors.base import MosicError


class NotFound(MosicError):
    code, status, title = "not-found", 404, "There is nothing at this URL"


class MethodNotAllowed(MosicError):
    code, status, title = "method-not-allowed", 405, "This URL does not support that method"


class MethodNotImplemented(MosicError):
    """No route supports it (RFC 9110 §9.1)."""

    code, status, title = "method-not-implemented", 501, "This method is not implemented"


class CodingNotImplemented(MosicError):
    """RFC 9112 §6.1. Bytes in an unknown coding are not read as content."""

    code, status, title = "transfer-coding-not-implemented", 501, "This transfer coding is not implemented"


class VersionNotSupported(MosicError):
    code, status, title = "http-version-not-supported", 505, "This version of HTTP is not supported"


class InvalidRequest(MosicError):
    """The format is right, but a value is missing or not allowed. `errors` lists `{loc, msg}` for each."""

    code, status, title = "invalid-request", 422, "The request has a missing or invalid value"

    def __init__(self, detail: str | None = None, *, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(detail, extra={"errors": errors or []})


class MalformedRequest(MosicError):
    """The bytes of the request do not follow the format that it declares."""

    code, status, title = "malformed-request", 400, "The request could not be read"


class HeadTooLarge(MosicError):
    code, status, title = "head-too-large", 431, "The header section of the request is too large"


class TargetTooLong(MosicError):
    """RFC 9110 §15.5.15."""

    code, status, title = "target-too-long", 414, "The URL of the request is too long"


class HeadStalled(MosicError):
    code, status, title = "head-stalled", 408, "The head of the request did not arrive in time"


class BadRequest(MosicError):
    """The HTTP layer below refused it with a 4xx status that has no code of its own."""

    code, status, title = "bad-request", 400, "The request was refused"


class UnsupportedContentType(MosicError):
    """The `Content-Type` of the body is not one that this URL accepts."""

    code, status, title = "unsupported-content-type", 415, "This URL does not accept a body of this type"


class UnsupportedContentEncoding(MosicError):
    """`Accept-Encoding` names what is accepted (RFC 9110 §15.5.16)."""

    code, status, title = (
        "unsupported-content-encoding",
        415,
        "This content encoding is not accepted",
    )

    def __init__(self) -> None:
        super().__init__(
            "Send the content as it is, without Content-Encoding.", headers={"Accept-Encoding": "identity"}
        )


class PreconditionFailed(MosicError):
    code, status, title = "precondition-failed", 412, "A precondition of the request does not hold"


class ClientDisconnected(MosicError):
    """No client receives this response; the code is for logs and metrics."""

    code, status, title = (
        "client-disconnected",
        499,
        "The client disconnected before the request was complete",
    )
