"""The tree of everything that Mosic refuses or fails at, with the answer each gives a client.

A `code` is stable: clients may branch on it, the metrics carry it as a label and `docs/errors.md` explains
it (a test keeps the two in step). The message is for people and says what was wrong with this one request,
never what the inside looks like: a message that names a path or a host stays in the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar


class MosicError(Exception):
    """Base of all. Subclasses set the class variables; an instance adds the sentence about this request.

    `headers` go out with the answer (RFC 9110 asks some statuses for some), `extra` are members added to the
    problem body (RFC 9457 §3.2).
    """

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]

    def __init__(
        self,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.detail = detail or self.title
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})
        super().__init__(self.detail)


class Unauthorized(MosicError):
    code, status, title = "unauthorized", 401, "A valid API key is needed"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "ApiKey"})


class TooManyFailures(MosicError):
    """The key is wrong, as were many from this address of late. A valid key is never refused so."""

    code, status, title = "too-many-failures", 429, "Too many wrong API keys came from this address"

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            "The key is not valid, like many before it from this address: wait before trying another.",
            headers={"Retry-After": str(retry_after)},
        )


class InvalidSignature(MosicError):
    """Also of an address that was made for something else, or before the signing secret was changed."""

    code, status, title = "invalid-signature", 403, "The signature of this address is not valid"


class ExpiredUrl(MosicError):
    """Ask for the clip again: its `stream_url` then has a new expiry, and the audio the same `ETag`."""

    code, status, title = "expired-url", 403, "The time of this address is over"


class NotFound(MosicError):
    code, status, title = "not-found", 404, "There is nothing at this address"


class ClipNotFound(MosicError):
    code, status, title = "clip-not-found", 404, "There is no such clip"


class MethodNotAllowed(MosicError):
    code, status, title = "method-not-allowed", 405, "This address does not answer that method"


class InvalidRequest(MosicError):
    """Well-formed, but a value is missing or not allowed. `errors` lists `{loc, msg}` for each."""

    code, status, title = "invalid-request", 422, "The request has a missing or invalid value"

    def __init__(self, detail: str | None = None, *, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(detail, extra={"errors": errors or []})


class MalformedRequest(MosicError):
    """The bytes of the request do not follow the format that it declares."""

    code, status, title = "malformed-request", 400, "The request could not be read"


class HeadTooLarge(MosicError):
    code, status, title = "head-too-large", 431, "The header section of the request is too large"


class HeadStalled(MosicError):
    code, status, title = "head-stalled", 408, "The head of the request did not arrive in time"


class BadRequest(MosicError):
    """A 4xx that the HTTP layer below refused and that has no code of its own."""

    code, status, title = "bad-request", 400, "The request was refused"


class MissingFile(MosicError):
    code, status, title = "missing-file", 422, "The form has no part named 'file'"


class UnsupportedMedia(MosicError):
    code, status, title = "unsupported-media", 415, "This is not audio of a known format"


class UnreadableMedia(MosicError):
    code, status, title = "unreadable-media", 422, "This audio could not be read"


class TooLarge(MosicError):
    code, status, title = "too-large", 413, "The upload is larger than allowed"


class UploadStalled(MosicError):
    code, status, title = "upload-stalled", 408, "The upload sent too little for too long"


class DigestMismatch(MosicError):
    code, status, title = "digest-mismatch", 400, "The bytes received do not have the declared digest"


class InsufficientStorage(MosicError):
    code, status, title = "insufficient-storage", 507, "There is no room for this upload"


class UnsupportedContentType(MosicError):
    """The body is declared as something that this address does not take."""

    code, status, title = "unsupported-content-type", 415, "This address does not take such a body"


class UnsupportedTusVersion(MosicError):
    code, status, title = "unsupported-tus-version", 412, "This version of tus is not spoken here"


class UploadNotFound(MosicError):
    code, status, title = "upload-not-found", 404, "There is no such upload"


class UploadGone(MosicError):
    code, status, title = "upload-gone", 410, "This upload has expired or was ended"


class OffsetMismatch(MosicError):
    code, status, title = "offset-mismatch", 409, "The upload does not stand at this offset"


class UploadLocked(MosicError):
    code, status, title = "upload-locked", 423, "Another request is writing to this upload"


class UploadInterrupted(MosicError):
    """A resumable upload sent too little for too long. What came is kept.

    Not 408: clients of tus go on after a 5xx, a 409 or a 423, and give up after any other 4xx.
    """

    code, status, title = "upload-interrupted", 503, "The upload was interrupted and can go on"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": "1"})


class ChecksumMismatch(MosicError):
    """460 is tus's own status (checksum extension)."""

    code, status, title = "checksum-mismatch", 460, "The bytes received do not have the declared checksum"


class PreconditionFailed(MosicError):
    code, status, title = "precondition-failed", 412, "A precondition of the request does not hold"


class RangeNotSatisfiable(MosicError):
    """`size` is that of the whole representation: RFC 9110 §15.5.17 asks for it in Content-Range. Only an
    external source may not have told it."""

    code, status, title = "range-not-satisfiable", 416, "No part of the range lies within the file"

    def __init__(self, size: int | None) -> None:
        told = {} if size is None else {"Content-Range": f"bytes */{size}"}
        super().__init__(
            None if size is None else f"The file has {size} bytes.",
            headers=told | {"Accept-Ranges": "bytes"},
        )


class BlobMissing(MosicError):
    """The catalogue has the clip but the store lacks its bytes: the operator's trouble, not the client's."""

    code, status, title = "blob-missing", 500, "The bytes of this clip are missing from the store"


class RemoteRefused(MosicError):
    """The address of an external clip is one that this service must not fetch from."""

    code, status, title = "remote-refused", 422, "This external address is not allowed"


class RemoteFailed(MosicError):
    code, status, title = "remote-failed", 502, "The external source did not give the audio"


class RemoteTimeout(MosicError):
    code, status, title = "remote-timeout", 504, "The external source did not answer in time"


class RemoteDisabled(MosicError):
    """`MOSIC_REMOTE_STREAM=off`."""

    code, status, title = "remote-disabled", 403, "This service does not stream external clips"


class Unavailable(MosicError):
    """Something Mosic needs is away for now; `Retry-After` tells clients that trying again is sensible."""

    code, status, title = "unavailable", 503, "The service cannot answer at the moment"

    def __init__(self, detail: str | None = None, *, extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": "2"}, extra=extra)


class InternalError(MosicError):
    """Whatever was not foreseen. The cause is in the log under the request id, never in the answer."""

    code, status, title = "internal-error", 500, "Something went wrong inside the service"


class ClientDisconnected(MosicError):
    """The client left before its request was whole. Nobody reads the answer; logs and metrics do."""

    code, status, title = "client-disconnected", 499, "The client left before the request was complete"


class StartupError(Exception):
    """The service cannot start; the message is for the operator, names the setting and is shown as it is."""


def all_errors() -> Iterator[type[MosicError]]:
    """Every class of the tree that a client can meet, in the order of definition."""
    pending = list(MosicError.__subclasses__())
    while pending:
        error = pending.pop(0)
        yield error
        pending.extend(error.__subclasses__())
