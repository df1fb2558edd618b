"""Who may not: keys and signed URLs."""

from __future__ import annotations

from mosic.errors.base import MosicError


class Unauthorized(MosicError):
    code, status, title = "unauthorized", 401, "A valid API key is needed"

    def __init__(self, detail: str | None = None, *, bearer: bool = False) -> None:
        """`bearer`: the client has tried that scheme, and is told of it what RFC 6750 §3 asks for."""
        challenges = 'ApiKey, Bearer error="invalid_token"' if bearer else "ApiKey"
        super().__init__(detail, headers={"WWW-Authenticate": challenges})


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


class HostNotAllowed(MosicError):
    """Of a request whose Host, or what a trusted proxy says it was, is not one of `MOSIC_ALLOWED_HOSTS`."""

    code, status, title = "host-not-allowed", 421, "This service does not answer for that host"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"The host {host[:100]!r} is not one of this service. Its operator can name it in "
            "MOSIC_PUBLIC_URL or MOSIC_ALLOWED_HOSTS."
        )
