"""What trusted proxies say about the original request.

This is the only place that reads it. (uvicorn's own reading is switched off in `mosic serve`: it knows
neither host nor prefix, and hides the IP address of the proxy, which decides whether to trust it.)
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

    `trusted` is `MOSIC_FORWARDED_ALLOW_IPS`. Each proxy adds its entry at the end. So the list is read from
    the end, as far as the proxies are trusted: earlier entries may come from anybody.
    """
    found: dict[str, str] = {}
    for hop in _trusted_hops(scope, trusted):
        found |= {name: value for name, value in hop.items() if name in MEMBERS}
    return found


def client_address(scope: Scope, trusted: str) -> str | None:
    """The client's IP address: the first one, from the end, that is not a trusted proxy, in its canonical
    spelling (see `plain_address`). None when there is none.

    If a proxy does not name its client (or says `unknown`, RFC 7239 §6.2), it counts as the client.
    """
    found = _peer(scope)
    for name, _ in scope["headers"]:
        if name in _FIELDS:
            break
    else:
        return plain_address(found)  # the common case, on the hot path of ranges
    for hop in _trusted_hops(scope, trusted):
        before = _address(hop.get("for", ""))
        if not _is_address(before):
            break
        found = before
    return plain_address(found)


@lru_cache(maxsize=1024)
def plain_address(text: str | None) -> str | None:
    """The IP address in its canonical spelling; None for anything else, such as the peer of a Unix socket.

    An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) becomes IPv4. The zone is removed: it
    has a meaning on one machine only, and a client could put any characters there.
    """
    try:
        found = ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return str(found if mapped is None else mapped)


def _trusted_hops(scope: Scope, trusted: str) -> Iterator[dict[str, str]]:
    """The entries of trusted proxies, the nearest first. Nothing is read from other peers."""
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
    """The IP address alone, of forms such as `192.0.2.1:80` and `[2001:db8::1]:80`."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


@dataclass(frozen=True, slots=True)
class _Proxies:
    networks: tuple[IPv4Network | IPv6Network, ...]
    any_peer: bool
    """`*`: every peer is a proxy. That is one hop: its client is not trusted."""

    def includes(self, address: str | None) -> bool:
        return bool(address) and _is_in(self.networks, address or "")


@lru_cache(maxsize=1024)
def _is_in(networks: tuple[IPv4Network | IPv6Network, ...], address: str) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    # IPv4-mapped: received over IPv4 by a socket for both (RFC 4291 §2.5.5.2).
    mapped = getattr(found, "ipv4_mapped", None)
    return any(found in network or (mapped is not None and mapped in network) for network in networks)


@lru_cache
def _proxies(text: str) -> _Proxies:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    networks = tuple(ip_network(part, strict=False) for part in parts if part != "*")
    return _Proxies(networks, any_peer="*" in parts)
