"""URLs of what the service offers, as clients reach it: also through proxies, and under an alias prefix."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID

from starlette.requests import HTTPConnection
from starlette.types import Scope

from mosic.settings import Settings
from mosic.web.paths import ALIAS, PREFIX
from mosic.web.proxies import described
from mosic.wire.requesthead import is_host
from mosic.wire.signing import Opened, UrlSigner

# Whatever else a host may have by RFC 3986 §3.2.2 stays out of responses.
_PLAIN = re.compile(r"[A-Za-z0-9._~:\[\]-]+")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~%-]+){1,16}")
_PREFIX_LENGTH = 128


@dataclass(frozen=True, slots=True)
class Urls:
    """Builds URLs below `base`, which has no slash at its end."""

    base: str
    router: str = PREFIX
    """`/play`, or the alias prefix under which the request came, as it may be the only one that a proxy lets
    through. Every URL of a clip, of the list and of an upload is below it."""

    signer: UrlSigner | None = None
    """Signs what players open, where reads are not public: they cannot send a key."""

    expires: int = 0
    """Until when signed URLs are valid (Unix time)."""

    @classmethod
    def of(cls, request: HTTPConnection, settings: Settings, signer: UrlSigner | None = None) -> Urls:
        """`MOSIC_PUBLIC_URL` when set, else what the request says, as trusted proxies describe it."""
        base = settings.public_url or _base(request, settings.forwarded_allow_ips)
        expires = signer.expiry(time.time()) if signer else 0
        return cls(base, request.scope.get(ALIAS, PREFIX), signer, expires)

    @property
    def prefix(self) -> str:
        """The path below which clients reach the service, without a slash at its end; mostly empty."""
        return urlsplit(self.base).path

    def clip_path(self, clip_id: UUID) -> str:
        return f"{self.prefix}{self.router}/{clip_id}"

    def clip(self, clip_id: UUID | str) -> str:
        return f"{self.base}{self.router}/{clip_id}"

    def list(self, query: str) -> str:
        return f"{self.base}{self.router}?{query}"

    def stream(self, clip_id: UUID) -> str:
        return self._for_players("stream", clip_id)

    def upload(self, upload_id: UUID) -> str:
        return f"{self.base}{self.router}/uploads/{upload_id}"

    def _for_players(self, opened: Opened, clip_id: UUID) -> str:
        url = f"{self.base}{self.router}/{clip_id}/{opened}"
        return f"{url}?{self.signer.query(opened, clip_id, self.expires)}" if self.signer else url


def prefix_of(settings: Settings, scope: Scope | None) -> str:
    """`Urls.prefix` of a request; where it was no request, as far as `MOSIC_PUBLIC_URL` says it."""
    if scope is None:
        return urlsplit(settings.public_url or "").path
    return Urls.of(HTTPConnection(scope), settings).prefix


def _base(request: HTTPConnection, trusted: str) -> str:
    scope = request.scope
    said = described(scope, trusted)
    scheme = said.get("proto", "").lower()
    if scheme not in ("http", "https"):
        scheme = scope["scheme"]
    host = _host(said.get("host", "")) or _host(request.headers.get("host", ""))
    if not host:
        address, port = scope.get("server") or ("localhost", None)
        host = address if port is None else f"{address}:{port}"
    prefix = said.get("prefix", "").rstrip("/")
    if len(prefix) > _PREFIX_LENGTH or not _PREFIX.fullmatch(prefix):
        prefix = ""
    return f"{scheme}://{host}{prefix}{scope.get('root_path', '').rstrip('/')}"


def _host(text: str) -> str:
    """With its port, which is left out when it is empty (RFC 3986 §6.2.3); "" when it is none."""
    return text.removesuffix(":") if _PLAIN.fullmatch(text) and is_host(text.encode("ascii")) else ""
