"""Absolute addresses of what the service offers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

from starlette.requests import HTTPConnection

# RFC 3986 §3.2.2 host with an optional port; whatever else a client puts into Host stays out of answers.
_HOST = re.compile(r"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Urls:
    """Builds addresses below `base`, which has no slash at its end."""

    base: str

    @classmethod
    def of(cls, request: HTTPConnection, public_url: str | None) -> Urls:
        """`MOSIC_PUBLIC_URL` when set, else what the request says (as trusted proxies describe it)."""
        if public_url is not None:
            return cls(public_url)
        host = request.headers.get("host", "")
        if not _HOST.fullmatch(host):
            address, port = request.scope.get("server") or ("localhost", None)
            host = address if port is None else f"{address}:{port}"
        root_path = request.scope.get("root_path", "").rstrip("/")
        return cls(f"{request.scope['scheme']}://{host}{root_path}")

    def clip_path(self, clip_id: UUID) -> str:
        return f"/play/{clip_id}"

    def stream(self, clip_id: UUID) -> str:
        return f"{self.base}/play/{clip_id}/stream"
