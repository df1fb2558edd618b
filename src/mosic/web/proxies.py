"""What proxies say of the request that the first of them got, as far as they are believed.

This is the one place that reads it. (uvicorn's own reading is switched off in `mosic serve`: it knows neither
host nor prefix, and hides the address of the proxy, without which nobody can tell whether to believe it.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import zip_longest

from starlette.datastructures import Headers
from starlette.types import Scope

# RFC 7239 §4: pairs of a token and a token or quoted string.
_PAIR = re.compile(r"""[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^",;\s]*))[ \t]*""")
_FIELD_LENGTH = 2048
_PROXY_FIELDS = ("for", "proto", "host", "prefix")


def described(scope: Scope, trusted: str) -> dict[str, str]:
    """`for`, `proto`, `host` and `prefix` of the original request, as far as anybody believed says them.

    `trusted` is `MOSIC_FORWARDED_ALLOW_IPS`. Each proxy adds its word at the end. So the list is read from
    there, as far as the proxies are trusted: before that stands what anybody may have written.
    """
    found: dict[str, str] = {}
    believed = _trusted(trusted)
    peer = _peer(scope)
    for hop in _hops(Headers(scope=scope)):
        if not believed.includes(peer):
            break
        found |= hop
        peer = _address(hop.get("for", ""))
    return found


def client_address(scope: Scope, trusted: str) -> str | None:
    """Who asks: the first address, from our end on, that is not a believed proxy. None when it has none.

    A proxy that does not say for whom it asks (or says `unknown`, RFC 7239 §6.2) stands for all of them.
    """
    believed = _trusted(trusted)
    found = _peer(scope)
    for hop in _hops(Headers(scope=scope)):
        if not believed.includes(found):
            break
        before = _address(hop.get("for", ""))
        if not _is_address(before):
            break
        found = before
    return found


def _peer(scope: Scope) -> str | None:
    client = scope.get("client")
    return client[0] if client else None


def _is_address(text: str | None) -> bool:
    try:
        ip_address(text or "")
    except ValueError:
        return False
    return True


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
