"""Who may not: keys and signed URLs."""

from __future__ import annotations

from mosic.errors.base import MosicError


class Unauthorized(MosicError):
    code, status, title = "unauthorized", 401, "A valid API key is needed"

    def __init__(self, detail: str | None = None, *, bearer: bool = False) -> None:
        """`bearer`: the client used that scheme, and gets the challenge of RFC 6750 §3."""
        challenges = 'ApiKey, Bearer error="invalid_token"' if bearer else "ApiKey"
        super().__init__(detail, headers={"WWW-Authenticate": challenges})


class TooManyFailures(MosicError):
    """Many wrong keys came from this IP address recently. A valid key is never refused for that."""

    code, status, title = "too-many-failures", 429, "Too many wrong API keys came from this IP address"

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            "The key is not valid, like many before it from this IP address. Wait before you try another.",
            headers={"Retry-After": str(retry_after)},
        )


class InvalidSignature(MosicError):
    """Also when the URL was signed for another resource, or before the signing secret was changed."""

    code, status, title = "invalid-signature", 403, "The signature of this URL is not valid"


class ExpiredUrl(MosicError):
    """Request the clip again: its `stream_url` then has a new expiry. The audio keeps its `ETag`."""

    code, status, title = "expired-url", 403, "This URL has expired"


class HostNotAllowed(MosicError):
    """The request's Host, or the one that a trusted proxy names, is not one of `MOSIC_ALLOWED_HOSTS`."""

    code, status, title = "host-not-allowed", 421, "This service does not serve that host"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"This service does not serve the host {host[:100]!r}. Its operator can allow it with "
            "MOSIC_PUBLIC_URL or MOSIC_ALLOWED_HOSTS."
        )
