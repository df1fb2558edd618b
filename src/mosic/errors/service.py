"""What is wrong with the service itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mosic.errors.base import MosicError


class Unavailable(MosicError):
    """Something that Mosic needs is not available now. `Retry-After` says when to try again."""

    code, status, title = "unavailable", 503, "The service is not available at the moment"

    def __init__(self, detail: str | None = None, *, extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": "2"}, extra=extra)


class InternalError(MosicError):
    """An unexpected error. The cause is in the log under the request id, never in the response."""

    code, status, title = "internal-error", 500, "Something went wrong inside the service"
