"""Properties of the guard: no spelling of an address that is not public gets through."""

from __future__ import annotations

import socket
import string
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mosic.errors import RemoteRefused
from mosic.wire.addresses import check_url, is_allowed, redirected

FULL_WIDTH = {ord(letter): ord(letter) + 0xFEE0 for letter in string.ascii_letters + string.digits}


def is_public(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not address.is_multicast


not_public = st.one_of(
    *(
        st.ip_addresses(v=4, network=network)
        for network in ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
    ),
    # drawn from all special networks that hypothesis knows, and from anywhere
    st.ip_addresses(v=4).filter(lambda address: not is_public(address)),
)


@st.composite
def numeric_hosts(draw: st.DrawFn, address: IPv4Address) -> str:
    """One to four numbers, each decimal, octal or hexadecimal, as inet_aton(3) reads them."""
    leading = draw(st.integers(0, 3))
    octets = struct.pack("!I", int(address))
    numbers = [*octets[:leading], int.from_bytes(octets[leading:], "big")]
    write: st.SearchStrategy[Callable[[int], str]] = st.sampled_from(
        [str, "{:#x}".format, "{:#X}".format, "0{:o}".format, "{:04d}".format, "0x{:08x}".format]
    )
    host = ".".join(draw(write)(number) for number in numbers)
    disguise: Callable[[str], str] = draw(
        st.sampled_from(
            [
                lambda text: text,
                lambda text: text.translate(FULL_WIDTH),
                lambda text: text[:1].translate(FULL_WIDTH) + text[1:],
                lambda text: text.replace(".", "\u3002"),
                lambda text: text.replace(".", "\uff0e"),
                lambda text: "".join(f"%{ord(letter):02x}" for letter in text),
                lambda text: text + ".",
                lambda text: text + "%2e",
                lambda text: "\u00ad" + text,
                lambda text: "host.example@" + text,
            ]
        )
    )
    return disguise(host)


@st.composite
def hosts(draw: st.DrawFn) -> str:
    """A host that some parser of URLs, addresses or names takes for an IPv4 address that is not public."""
    address = draw(not_public)
    number = int(address)
    embedded = [
        f"[::ffff:{address}]",
        f"[::{address}]",
        f"[::ffff:0:{address}]",
        f"[64:ff9b::{address}]",
        f"[64:ff9b:1::{address}]",
        f"[2606:4700::5efe:{address}]",
        f"[::ffff:{address}%25eth0]",
        f"[{IPv6Address((0x2002 << 112) | (number << 80) | 1)}]",
        f"[{IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF))}]",
    ]
    return draw(st.one_of(numeric_hosts(address), st.sampled_from(embedded)))


@given(hosts())
def test_no_spelling_of_an_address_that_is_not_public_gets_through(host: str) -> None:
    for port in ("", ":8000"):
        with pytest.raises(RemoteRefused):
            check_url(f"http://{host}{port}/song.mp3")


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_address_that_the_system_reads_from_an_accepted_host_is_public(address: IPv4Address) -> None:
    """Whatever is accepted, the C library must not read another, forbidden address out of it."""
    for host in (
        str(address),
        str(int(address)),
        hex(int(address)),
        f"{int(address) >> 24}.{int(address) & 0xFFFFFF}",
    ):
        try:
            accepted = check_url(f"http://{host}/").host
        except RemoteRefused:
            continue
        assert is_public(ip_address(socket.inet_ntoa(socket.inet_aton(accepted))))


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
@example(IPv6Address("64:ff9b::8.8.8.8"))
@example(IPv6Address("2001:1ff:ffff::"))
@example(IPv4Address("192.0.0.8"))
def test_no_address_that_python_holds_for_special_is_allowed(address: IPv4Address | IPv6Address) -> None:
    if is_allowed(address):
        # Older patch releases of Python call all of NAT64's well-known prefix special.
        assert is_public(address) or address in ip_network("64:ff9b::/96")


@given(st.one_of(st.text(), st.text(alphabet="htps:/@.[]%\\?#0123456789abfx-_。１ ").map("http://".__add__)))
def test_any_text_is_taken_or_refused_and_what_is_taken_is_stable(url: str) -> None:
    try:
        checked = check_url(url)
    except RemoteRefused:
        return
    assert str(checked).isascii()
    assert check_url(str(checked)) == checked
    assert checked.literal is None or is_public(checked.literal)


@given(st.text())
def test_any_location_is_taken_or_refused(location: str) -> None:
    source = check_url("https://host.example/a")
    try:
        target = redirected(
            source, location.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
        )
    except RemoteRefused:
        return
    assert target.scheme == "https"
    assert str(target).isascii()
