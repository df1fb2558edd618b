"""What proxies say of the request that the first of them got, as far as they are trusted.

This is the one place that reads it. (uvicorn's own reading is switched off in `mosic serve`: it knows neither
host nor prefix, and hides the address of the proxy, without which nothing says whether to trust it.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from starlette.types import Scope

from mosic.wire.forwarded import FIELDS, MEMBERS, nearest_first

_FIELDS = frozenset(FIELDS)


def described(scope: Scope, trusted: str) -> dict[str, str]:
    """`for`, `proto`, `host` and `prefix` of the original request, as far as trusted proxies describe it.

    `trusted` is `MOSIC_FORWARDED_ALLOW_IPS`. Each proxy adds its word at the end. So the list is read from
    there, as far as the proxies are trusted: before that stands what anybody may have written.
    """
    found: dict[str, str] = {}
    for hop in _trusted_hops(scope, trusted):
        found |= {name: value for name, value in hop.items() if name in MEMBERS}
    return found


def client_address(scope: Scope, trusted: str) -> str | None:
    """Who asks: the first address, from our end on, that is not a trusted proxy, in its one spelling (see
    `plain_address`). None when it has none.

    A proxy that does not say for whom it asks (or says `unknown`, RFC 7239 §6.2) stands for all of them.
    """
    found = _peer(scope)
    for name, _ in scope["headers"]:
        if name in _FIELDS:
            break
    else:
        return plain_address(found)  # as for most requests; this is on the way of every range that is sent
    for hop in _trusted_hops(scope, trusted):
        before = _address(hop.get("for", ""))
        if not _is_address(before):
            break
        found = before
    return plain_address(found)


@lru_cache(maxsize=1024)
def plain_address(text: str | None) -> str | None:
    """The address in its one spelling; None for what is none, as the peers of a Unix socket have none.

    One of IPv4 that came to a socket for both (RFC 4291 §2.5.5.2) is that of IPv4. The zone is left out: it
    means something on one machine only, and one that a client wrote may have any characters.
    """
    try:
        found = ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return str(found if mapped is None else mapped)


def _trusted_hops(scope: Scope, trusted: str) -> Iterator[dict[str, str]]:
    """What trusted proxies have said, the nearest first. Of other peers nothing is read at all."""
    proxies = _proxies(trusted)
    if not (proxies.any_peer or proxies.includes(_peer(scope))):
        return
    lines: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        if name in _FIELDS:
            lines.setdefault(name, []).append(value)
    if not lines:
        return
    for hop in nearest_first(lines):
        yield hop
        if not proxies.includes(_address(hop.get("for", ""))):
            return


def _peer(scope: Scope) -> str | None:
    client = scope.get("client")
    return client[0] if client else None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _address(text: str) -> str:
    """The address alone, of forms such as `192.0.2.1:80` and `[2001:db8::1]:80`."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


@dataclass(frozen=True, slots=True)
class _Proxies:
    networks: tuple[IPv4Network | IPv6Network, ...]
    any_peer: bool
    """`*`: whoever connects is a proxy. That is one hop: for whom it asks may be anybody."""

    def includes(self, address: str | None) -> bool:
        return bool(address) and _is_in(self.networks, address or "")


@lru_cache(maxsize=1024)
def _is_in(networks: tuple[IPv4Network | IPv6Network, ...], address: str) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    # What came over IPv4 to a socket that takes both (RFC 4291 §2.5.5.2).
    mapped = getattr(found, "ipv4_mapped", None)
    return any(found in network or (mapped is not None and mapped in network) for network in networks)


@lru_cache
def _proxies(text: str) -> _Proxies:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    networks = tuple(ip_network(part, strict=False) for part in parts if part != "*")
    return _Proxies(networks, any_peer="*" in parts)
