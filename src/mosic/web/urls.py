"""Absolute addresses of what the service offers, as clients reach it: also through proxies."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from uuid import UUID

from starlette.requests import HTTPConnection

from mosic.settings import Settings
from mosic.web.proxies import described
from mosic.wire.signing import Opened, UrlSigner

# RFC 3986 §3.2.2 host with an optional port; whatever else a client puts into Host stays out of answers.
_HOST = re.compile(r"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~%-]{1,255}){1,16}")


@dataclass(frozen=True, slots=True)
class Urls:
    """Builds addresses below `base`, which has no slash at its end."""

    base: str
    alias: str = "/play"
    """The prefix under which the request came: an alias may be the only one that a proxy lets through."""

    signer: UrlSigner | None = None
    """Signs what players open, where reads are not public: they cannot send a key."""

    expires: int = 0
    """Until when signed addresses hold (Unix time)."""

    @classmethod
    def of(cls, request: HTTPConnection, settings: Settings, signer: UrlSigner | None = None) -> Urls:
        """`MOSIC_PUBLIC_URL` when set, else what the request says, as trusted proxies describe it."""
        base = settings.public_url or _base(request, settings.forwarded_allow_ips)
        expires = signer.expiry(time.time()) if signer else 0
        return cls(base, request.scope.get("mosic.alias", "/play"), signer, expires)

    def clip_path(self, clip_id: UUID) -> str:
        return f"/play/{clip_id}"

    def stream(self, clip_id: UUID) -> str:
        return self._for_players("stream", clip_id)

    def upload(self, upload_id: UUID) -> str:
        return f"{self.base}{self.alias}/uploads/{upload_id}"

    def _for_players(self, opened: Opened, clip_id: UUID) -> str:
        url = f"{self.base}/play/{clip_id}/{opened}"
        return f"{url}?{self.signer.query(opened, clip_id, self.expires)}" if self.signer else url


def _base(request: HTTPConnection, trusted: str) -> str:
    scope = request.scope
    said = described(scope, trusted)
    scheme = said.get("proto", "").lower()
    if scheme not in ("http", "https"):
        scheme = scope["scheme"]
    host = next(
        (name for name in (said.get("host", ""), request.headers.get("host", "")) if _HOST.fullmatch(name)),
        None,
    )
    if host is None:
        address, port = scope.get("server") or ("localhost", None)
        host = address if port is None else f"{address}:{port}"
    prefix = said.get("prefix", "").rstrip("/")
    if not _PREFIX.fullmatch(prefix):
        prefix = ""
    return f"{scheme}://{host}{prefix}{scope.get('root_path', '').rstrip('/')}"
