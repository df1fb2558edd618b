"""Which URLs and addresses external audio may come from. The oracle is IANA's registries and RFC 3986."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from mosic.errors import RemoteRefused
from mosic.wire.addresses import MAX_URL_LENGTH, PRIVATE_NETWORKS, check_url, is_allowed

HOSTILE = [
    # what is not http, not absolute, or hides where it leads
    "",
    "song.mp3",
    "/song.mp3",
    "//host.example/song.mp3",
    "http:host.example/song.mp3",
    "http:/host.example/song.mp3",
    "http:///song.mp3",
    "http://",
    "http://?song",
    "http://#song",
    "http://:80/song.mp3",
    "file:///etc/passwd",
    "ftp://host.example/song.mp3",
    "gopher://host.example/1song",
    "data:audio/mpeg;base64,AAAA",
    "javascript:alert(1)",
    "unix:///var/run/docker.sock",
    "httpſ://host.example/song.mp3",
    "ws://host.example/",
    " http://host.example/song.mp3",
    "http://host.example/song.mp3\n",
    "http://host.example/a song.mp3",
    "http://host.example/song.mp3\r\nX-Injected: 1",
    "http://host.example/\x00",
    "http://host\t.example/",
    "http://host.example\\@127.0.0.1/",
    "http:\\\\host.example\\song.mp3",
    "http://host.example/\ud800",
    "http://host.example/" + "a" * MAX_URL_LENGTH,
    # credentials
    "http://user@host.example/",
    "http://user:secret@host.example/",
    "http://@host.example/",
    "http://host.example@127.0.0.1/",
    "http://host.example:80@127.0.0.1/",
    "http://host.example%40127.0.0.1/",
    # ports
    "http://host.example:/",
    "http://host.example:0/",
    "http://host.example:22/",
    "http://host.example:25/",
    "http://host.example:6667/",
    "http://host.example:65536/",
    "http://host.example:99999999999/",
    "http://host.example:-1/",
    "http://host.example:+80/",
    "http://host.example:80:80/",
    "http://host.example:８０/",
    "http://host.example:0x50/",
    # loopback, in every spelling that some parser takes
    "http://127.0.0.1/",
    "http://127.0.0.1:8000/",
    "HTTP://127.0.0.1/",
    "http://127.0.0.1./",
    "http://127.0.0.1../",
    "http://127.1/",
    "http://127.0.1/",
    "http://127/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0x7f000001/",
    "http://0X7F.1/",
    "http://0x7f.0.0.0x1/",
    "http://0177.0.0.1/",
    "http://00127.0.0.1/",
    "http://127.0.0.01/",
    "http://127.0.0.1%00.host.example/",
    "http://127.0.0.256/",
    "http://host.127.0.0.1/",
    "http://１２７.０.０.１/",
    "http://127。0。0。1/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127.0.0.1%2f.host.example/",
    "http://%31%32%37.0.0.1/",
    "http://%6c%6f%63alhost/",
    "http://\uff18.\uff18.\uff18.\uff18/",
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::1]:8000/",
    "http://[::1%25lo]/",
    "http://[fe80::1%25eth0]/",
    "http://[2606:4700::1111%25eth0]/",
    "http://[::1/",
    "http://::1/",
    "http://[127.0.0.1]/",
    "http://[v1.fe80::a]/",
    "http://[]/",
    "http://[::1]x/",
    "http://x[::1]/",
    # IPv4 inside IPv6
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:8.8.8.8]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::10.0.0.1]/",
    "http://[64:ff9b:1::8.8.8.8]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:a00:1::1]/",
    "http://[2001:0:808:808:0:ffff:80ff:fffe]/",
    "http://[2606:4700::5efe:10.0.0.1]/",
    "http://[2606:4700::200:5efe:127.0.0.1]/",
    # names that lead inside
    "http://localhost/",
    "http://LocalHost:8000/",
    "http://localhost./",
    "http://foo.localhost/",
    "http://loc\u00adalhost/",
    "http://ⓛocalhost/",
    "http://\uff2c\uff2f\uff23\uff21\uff2c\uff28\uff2f\uff33\uff34/",
    "http://localhost.localdomain/",
    "http://printer.local/",
    "http://router.home.arpa/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://metadata/",
    "http://postgres:8080/",
    # private, special and reserved
    "http://0.0.0.0/",
    "http://0/",
    "http://0.1.2.3/",
    "http://10.0.0.1/",
    "http://100.64.0.1/",
    "http://100.100.100.200/latest/meta-data/",
    "http://168.63.129.16/",
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.170.2/v2/credentials",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.0.0.192/",
    "http://192.0.2.1/",
    "http://192.88.99.1/",
    "http://192.168.0.1/",
    "http://198.18.0.1/",
    "http://198.51.100.1/",
    "http://203.0.113.1/",
    "http://224.0.0.1/",
    "http://239.255.255.255/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[::]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[100::1]/",
    "http://[2001:2::1]/",
    "http://[2001:db8::1]/",
    "http://[3fff::1]/",
    "http://[5f00::1]/",
    "http://[4000::1]/",
    # names that are none
    "http://a..example/",
    "http://.example/",
    "http://example../",
    "http://-a.example/",
    "http://a-.example/",
    "http://a,b.example/",
    "http://a%20b.example/",
    "http://*.example/",
    "http://" + "a" * 64 + ".example/",
    "http://" + ".".join(["a" * 60] * 5) + ".example/",
    "http://xn--\u0301.example/",
    "http://a\u202e.example/",
    "http://host.example:80\u2044path/",
    "http://host.example\uff0f@127.0.0.1/",
]

GOOD = [
    ("http://host.example/song.mp3", "http://host.example/song.mp3"),
    ("HTTPS://Host.Example/Song.mp3", "https://host.example/Song.mp3"),
    ("https://host.example", "https://host.example/"),
    ("https://host.example?id=1", "https://host.example/?id=1"),
    ("https://host.example:443/a", "https://host.example/a"),
    ("http://host.example:443/a", "http://host.example:443/a"),
    ("http://radio.example:8000/stream;audio", "http://radio.example:8000/stream;audio"),
    ("http://host.example/a#t=10,20", "http://host.example/a"),
    ("http://host.example/a?x=http://127.0.0.1/", "http://host.example/a?x=http://127.0.0.1/"),
    ("http://host.example/user@home/a", "http://host.example/user@home/a"),
    ("http://host.example/a%20b%2Fc?s=%2B%3D&t=a+b", "http://host.example/a%20b%2Fc?s=%2B%3D&t=a+b"),
    ("http://host.example/größe.mp3", "http://host.example/gr%C3%B6%C3%9Fe.mp3"),
    ("http://host.example./a", "http://host.example./a"),
    ("http://a_b.host.example/", "http://a_b.host.example/"),
    ("http://1.2.3.4.host.example/", "http://1.2.3.4.host.example/"),
    ("http://0x7f.example/", "http://0x7f.example/"),
    ("http://bücher.example/a", "http://xn--bcher-kva.example/a"),
    ("http://straße.example/a", "http://xn--strae-oqa.example/a"),
    ("http://xn--bcher-kva.example/a", "http://xn--bcher-kva.example/a"),
    ("http://8.8.8.8/a", "http://8.8.8.8/a"),
    ("http://11.0.0.1:8080/a", "http://11.0.0.1:8080/a"),
    ("http://172.32.0.1/", "http://172.32.0.1/"),
    ("http://[2606:4700:4700::1111]/a", "http://[2606:4700:4700::1111]/a"),
    ("http://[2606:4700:4700:0:0:0:0:1111]:8000/a", "http://[2606:4700:4700::1111]:8000/a"),
    ("http://[64:ff9b::8.8.8.8]/a", "http://[64:ff9b::808:808]/a"),
]


def test_the_table_of_hostile_urls_is_not_a_short_one() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) > 120


@pytest.mark.parametrize("url", HOSTILE)
def test_a_hostile_url_is_refused_and_told_why(url: str) -> None:
    with pytest.raises(RemoteRefused) as refused:
        check_url(url)
    assert refused.value.status == 422
    assert refused.value.detail.endswith(".")


def test_credentials_are_named_as_the_reason() -> None:
    with pytest.raises(RemoteRefused, match="credentials"):
        check_url("https://user:secret@host.example/song.mp3")


@pytest.mark.parametrize(("url", "canonical"), GOOD)
def test_a_good_url_is_taken_in_one_spelling(url: str, canonical: str) -> None:
    checked = check_url(url)
    assert str(checked) == canonical
    assert check_url(canonical) == checked


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/a",
        "http://127.0.0.1/a",
        "http://[::1]/a",
        "http://10.1.2.3/a",
        "http://100.64.1.1/a",
        "http://172.16.0.9/a",
        "http://192.168.1.20:32400/a",
        "http://[fd12:3456::1]/a",
        "http://nas/a",
        "http://nas.local/a",
    ],
)
def test_opened_private_networks_may_be_fetched_from(url: str) -> None:
    check_url(url, PRIVATE_NETWORKS)
    with pytest.raises(RemoteRefused):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://0.0.0.0/",
        "http://0/",
        "http://127.1/",
        "http://2130706433/",
        "http://169.254.169.254/",
        "http://100.100.100.200/",
        "http://168.63.129.16/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://[fd00:ec2::23]/",
        "http://[fd20:ce::254]/",
        "http://[fd00:42::42]/",
        "http://[2002:7f00:1::]/",
        "http://user@127.0.0.1/",
        "ftp://127.0.0.1/",
    ],
)
def test_opened_private_networks_open_nothing_else(url: str) -> None:
    with pytest.raises(RemoteRefused):
        check_url(url, PRIVATE_NETWORKS)


def test_a_single_opened_address_opens_no_neighbour() -> None:
    opened = (ip_network("127.0.0.2"),)
    assert is_allowed(IPv4Address("127.0.0.2"), opened)
    assert not is_allowed(IPv4Address("127.0.0.1"), opened)
    assert not is_allowed(IPv4Address("127.0.0.3"), opened)
    assert not is_allowed(IPv6Address("::1"), opened)
