"""Where external audio may be fetched from: the rules for URLs, host names and IP addresses.

For an external clip this service sends requests that others chose. They must not reach what only the service
can reach (loopback, the private network, a cloud's metadata). So a URL is checked by `check_url`, and every
IP address of its host by `is_allowed` before a connection is made. Both refuse what they do not know: an IPv4
address must be outside every block that IANA lists as special, an IPv6 address inside the global unicast
space and outside its special blocks, and a host must be in its canonical spelling.

`opened` are networks that the operator allows although they are not public.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import quote, urljoin

import idna

from mosic.errors import RemoteRefused
from mosic.wire.grammar import URL_CHARACTERS

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL_LENGTH = 2048

# What `MOSIC_REMOTE_ALLOW_PRIVATE` opens: RFC 1918, RFC 6598, RFC 4193 and loopback. Never link-local,
# multicast or reserved addresses: no audio is there, but the metadata of most clouds is.
PRIVATE_NETWORKS: tuple[Network, ...] = (
    IPv4Network("10.0.0.0/8"),
    IPv4Network("100.64.0.0/10"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv6Network("::1/128"),
    IPv6Network("fc00::/7"),
)

# https://www.iana.org/assignments/iana-ipv4-special-registry and RFC 5771. Written out, because
# `ipaddress.is_global` differs between patch releases of Python.
_SPECIAL_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host on this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared address space of carriers
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)

# https://www.iana.org/assignments/iana-ipv6-special-registry, as far as it lies in the global unicast space.
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_SPECIAL_IPV6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID, …
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries any IPv4 address
        "3fff::/20",  # documentation
    )
)
# RFC 6052: how a network with IPv6 only reaches IPv4 addresses. The address inside is checked.
_NAT64 = IPv6Network("64:ff9b::/96")

_EVERYWHERE: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))

# Addresses where clouds give out credentials, and which no rule above surely covers once private networks are
# opened: Azure, Alibaba, AWS (instances, EKS pods), Google, Scaleway.
_METADATA = frozenset(
    ip_address(address)
    for address in (
        "168.63.129.16",
        "100.100.100.200",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd00:42::42",
    )
)

# https://fetch.spec.whatwg.org/#port-blocking: other protocols, which could misread an HTTP request.
# fmt: off
_BLOCKED_PORTS = frozenset({
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102,
    103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512,
    513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719,
    1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697,
    10080,
})
# fmt: on
_DEFAULT_PORTS = {"http": 80, "https": 443}

_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?", re.ASCII | re.IGNORECASE)
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\x9f\\\s]")
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# A host that ends in a number is an IPv4 address in some spelling, never a name (WHATWG URL, host parsing).
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# RFC 6761, RFC 6762, RFC 8375 and the ICANN reservation of 2024.
_LOCAL_SUFFIXES = (".localhost", ".localdomain", ".local", ".home.arpa", ".internal")


@dataclass(frozen=True, slots=True)
class ExternalUrl:
    """What `check_url` let through: lower-case ASCII host, no brackets; path and query percent-encoded."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def literal(self) -> Address | None:
        """The host when it is an IP address, None when it is a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"


def is_allowed(address: Address, opened: Sequence[Network] = ()) -> bool:
    """Whether a connection may be made to this address: public, or in one of the opened networks."""
    if address in _METADATA:
        return False
    if isinstance(address, IPv6Address):
        if address.scope_id is not None or _is_isatap(address):
            return False
        if address in _NAT64:
            return is_allowed(IPv4Address(int(address) & 0xFFFFFFFF), opened)
    return any(address in network for network in opened) or _is_public(address)


def check_url(url: str, opened: Sequence[Network] = ()) -> ExternalUrl:
    """Check all of a URL that can be checked without DNS; raises `RemoteRefused` with the reason.

    http or https; at most `MAX_URL_LENGTH` characters, no white space, control character or backslash;
    no credentials; a port that browsers would connect to; a host that is an allowed address in its canonical
    spelling (four decimal numbers, or RFC 4291 in brackets and without a zone) or a name that may be public.
    Names in other scripts are turned into their ASCII form. The fragment is dropped.
    """
    if len(url) > MAX_URL_LENGTH:
        raise RemoteRefused(f"A URL may have at most {MAX_URL_LENGTH} characters.")
    if _FORBIDDEN.search(url):
        raise RemoteRefused("A URL cannot contain white space, control characters or backslashes.")
    parts = _URL.fullmatch(url)
    if parts is None:
        raise RemoteRefused("Only an absolute http:// or https:// URL can be fetched.")
    scheme, authority, rest = parts[1].lower(), parts[2], parts[3]
    if "@" in authority:
        raise RemoteRefused("The URL must not contain credentials.")
    host_and_port = _AUTHORITY.fullmatch(authority)
    if host_and_port is None:
        raise RemoteRefused("The URL has no valid host and port.")
    port = int(host_and_port[2]) if host_and_port[2] else _DEFAULT_PORTS[scheme]
    if port > 65535 or port in _BLOCKED_PORTS:
        raise RemoteRefused("The port of the URL is not allowed.")
    host = _check_host(host_and_port[1], opened)
    try:
        path = quote(rest, safe=URL_CHARACTERS)
    except UnicodeEncodeError:
        raise RemoteRefused("The URL has characters that cannot be encoded.") from None
    return ExternalUrl(scheme, host, port, path if path.startswith("/") else "/" + path)


def ascii_url(url: str) -> str | None:
    """A URL in the characters that a header field may have (RFC 3986; names in other scripts as in IDNA).

    None for what `check_url` refuses, except that the host need not be public: the URL is for a client to
    open, not for this service.
    """
    try:
        return str(check_url(url, _EVERYWHERE))
    except RemoteRefused:
        return None


def redirected(source: ExternalUrl, location: str, opened: Sequence[Network] = ()) -> ExternalUrl:
    """The URL that a `Location` (RFC 9110 §10.2.2) in a response from `source` means, checked like any other.

    Raises `RemoteRefused`; also for a step from https to http, which would undo what https was chosen for.
    """
    # Servers send spaces and raw UTF-8, which the HTTP parser hands over as surrogates where it is not valid.
    encoded = quote(location.encode("utf-8", "surrogateescape"), safe=URL_CHARACTERS)
    try:
        target = check_url(urljoin(str(source), encoded), opened)
    except ValueError:
        raise RemoteRefused("The URL has no valid host and port.") from None
    if source.scheme == "https" and target.scheme != "https":
        raise RemoteRefused("The external source redirected from https to http.")
    return target


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_IPV4)
    return address in _GLOBAL_IPV6 and not any(address in network for network in _SPECIAL_IPV6)


def _is_isatap(address: IPv6Address) -> bool:
    """RFC 5214 §6.1: an interface identifier of [02]00:5efe and an IPv4 address, under any prefix."""
    return (int(address) >> 32) & 0xFDFFFFFF == 0x00005EFE


def _check_host(text: str, opened: Sequence[Network]) -> str:
    if text.startswith("["):
        return _check_literal(text[1:-1], IPv6Address, opened)
    if len(text) > 253:
        raise RemoteRefused("The host of the URL is too long.")
    try:
        # UTS 46 maps full-width digits, ideographic full stops and the like to what they stand for.
        host = text.lower() if text.isascii() else idna.encode(text, uts46=True).decode("ascii")
    except UnicodeError:
        raise RemoteRefused("The host of the URL is not a valid name.") from None
    name = host.removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _check_literal(host if text.isascii() else "", IPv4Address, opened)
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise RemoteRefused("The host of the URL is not a valid name.")
    # What counts are the addresses of a name; but these names can be refused at once, with a reason.
    if not opened and (len(labels) == 1 or name.endswith(_LOCAL_SUFFIXES)):
        raise RemoteRefused("The host of the URL is a name of a local network.")
    return host


def _check_literal(text: str, kind: type[Address], opened: Sequence[Network]) -> str:
    try:
        address = kind(text)
    except ValueError:
        raise RemoteRefused("The host of the URL is an IP address in an unusual spelling.") from None
    if not is_allowed(address, opened):
        raise RemoteRefused("The host of the URL resolves to an IP address that is not public.")
    return str(address)
