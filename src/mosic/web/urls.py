"""Absolute addresses of what the service offers, as clients reach it: also through proxies.

This is the one place that reads what proxies say of the original request. (uvicorn's own reading of it is
switched off in `mosic serve`: it knows neither host nor prefix, and hides the address of the proxy, without
which nobody can tell whether to believe it.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import zip_longest
from uuid import UUID

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from mosic.settings import Settings

# RFC 3986 §3.2.2 host with an optional port; whatever else a client puts into Host stays out of answers.
_HOST = re.compile(r"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~%-]{1,255}){1,16}")
# RFC 7239 §4: pairs of a token and a token or quoted string.
_PAIR = re.compile(r"""[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^",;\s]*))[ \t]*""")
_FIELD_LENGTH = 2048
_PROXY_FIELDS = ("for", "proto", "host", "prefix")


@dataclass(frozen=True, slots=True)
class Urls:
    """Builds addresses below `base`, which has no slash at its end."""

    base: str
    alias: str = "/play"
    """The prefix under which the request came: an alias may be the only one that a proxy lets through."""

    @classmethod
    def of(cls, request: HTTPConnection, settings: Settings) -> Urls:
        """`MOSIC_PUBLIC_URL` when set, else what the request says, as trusted proxies describe it."""
        base = settings.public_url or _base(request, settings.forwarded_allow_ips)
        return cls(base, request.scope.get("mosic.alias", "/play"))

    def clip_path(self, clip_id: UUID) -> str:
        return f"/play/{clip_id}"

    def stream(self, clip_id: UUID) -> str:
        return f"{self.base}/play/{clip_id}/stream"

    def upload(self, upload_id: UUID) -> str:
        return f"{self.base}{self.alias}/uploads/{upload_id}"


def _base(request: HTTPConnection, trusted: str) -> str:
    scope = request.scope
    said = _described(request.headers, _peer(request), _trusted(trusted))
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


def _peer(request: HTTPConnection) -> str | None:
    return request.client.host if request.client else None


def _described(headers: Headers, peer: str | None, trusted: _Trusted) -> dict[str, str]:
    """What the chain of proxies says of the request that the first one of them got.

    Each adds its word at the end. So the list is read from there, as far as the proxies are trusted: before
    that stands what anybody may have written.
    """
    described: dict[str, str] = {}
    for hop in _hops(headers):
        if not trusted.includes(peer):
            break
        described |= hop
        peer = _address(hop.get("for", ""))
    return described


def _hops(headers: Headers) -> Iterator[dict[str, str]]:
    """From the nearest proxy on. `Forwarded` counts when there is none of the older fields: a proxy that sets
    these may let through a `Forwarded` that a client made up.
    """
    lists = [
        [part.strip() for part in _field(headers, f"x-forwarded-{name}").split(",")][::-1]
        for name in _PROXY_FIELDS
    ]
    if any(lists_of != [""] for lists_of in lists):
        for values in zip_longest(*lists, fillvalue=""):
            yield {name: value for name, value in zip(_PROXY_FIELDS, values, strict=True) if value}
        return
    for element in reversed(_split_quoted(_field(headers, "forwarded"), ",")):
        pairs = [_PAIR.fullmatch(pair) for pair in _split_quoted(element, ";")]
        yield {
            pair[1].lower(): re.sub(r"\\(.)", r"\1", pair[2]) if pair[2] is not None else pair[3]
            for pair in pairs
            if pair is not None
        }


def _field(headers: Headers, name: str) -> str:
    """Its end, that is: no honest chain of proxies is longer, and the beginning is anybody's."""
    return ",".join(headers.getlist(name))[-_FIELD_LENGTH:]


def _split_quoted(text: str, separator: str) -> list[str]:
    """Split where the separator is not within quotes."""
    return re.findall(rf'(?:[^{separator}"]|"(?:[^"\\]|\\.)*"|")+', text)


def _address(text: str) -> str | None:
    """The address alone, of forms such as `192.0.2.1:80` and `[2001:db8::1]:80`."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


@dataclass(frozen=True, slots=True)
class _Trusted:
    networks: tuple[IPv4Network | IPv6Network, ...]
    everybody: bool

    def includes(self, address: str | None) -> bool:
        if self.everybody:
            return True
        try:
            found = ip_address(address or "")
        except ValueError:
            return False
        return any(found in network for network in self.networks)


@lru_cache
def _trusted(text: str) -> _Trusted:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    networks = tuple(ip_network(part, strict=False) for part in parts if part != "*")
    return _Trusted(networks, everybody="*" in parts)
