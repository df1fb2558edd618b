"""Heads of requests, by the grammar of RFC 9112 §3 and RFC 3986 §3.2."""

from __future__ import annotations

import pytest

from mosic.errors import CodingNotImplemented, MalformedRequest, MethodNotImplemented, VersionNotSupported
from mosic.wire.requesthead import (
    Fields,
    check_codings,
    check_head,
    check_protocol,
    is_host,
    refusal_of_unread,
)

HOST = [(b"host", b"mosic.test")]


def checked(method: bytes, version: str, target: bytes, fields: Fields) -> tuple[bytes, Fields]:
    return check_head(method, version, target, fields, dict(fields))


@pytest.mark.parametrize(
    "host",
    [
        b"a",
        b"a:",
        b"mosic.test:8000",
        b"127.0.0.1:80",
        b"[::1]",
        b"[2001:db8::1]:443",
        b"[v1.fe:80]",
        b"my_service",
        b"a%20b",
        b"x" * 255,
        b"MOSIC",
        b"a:65535",
    ],
)
def test_a_host(host: bytes) -> None:
    assert is_host(host)


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b":80",
        b"a b",
        b"[::1",
        b"::1",
        b"[]",
        b"[::g]",
        b"[fe80::1%eth0]",
        b"[::1]x",
        b"a:b",
        b"a:65536",
        b"a:123456",
        b"a:80:80",
        b"user@a",
        b"a/b",
        b"a?b",
        b"a#b",
        b"http://a",
        b"a%2",
        b"a%zz",
        b"\xc3\xa9",
        b"a\\b",
        b'a"b',
        b"<a>",
        b"a\tb",
        b"a, b",
        b"x" * 262,
    ],
)
def test_no_host(host: bytes) -> None:
    assert not is_host(host)


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"/play?x=http://b/", b"/play?x=http://b/", b"mosic.test"),
        (b"//play", b"//play", b"mosic.test"),
        (b"http://b/play", b"/play", b"b"),
        (b"HTTPS://b:8/play?x", b"/play?x", b"b:8"),
        (b"http://b", b"/", b"b"),
        (b"http://b?x", b"/?x", b"b"),
        (b"http://[::1]:8/", b"/", b"[::1]:8"),
    ],
)
def test_the_authority_of_an_absolute_target_takes_the_place_of_host(
    target: bytes, path: bytes, host: bytes
) -> None:  # RFC 9112 §3.2.2
    fields = [(b"accept", b"*/*"), *HOST]
    found, kept = checked(b"GET", "1.1", target, fields)
    assert found == path
    assert sorted(kept) == [(b"accept", b"*/*"), (b"host", host)]


@pytest.mark.parametrize("target", [b"*", b"http://mosic.test"])
def test_the_target_of_options_may_be_the_service(target: bytes) -> None:  # RFC 9112 §3.2.4
    assert checked(b"OPTIONS", "1.1", target, HOST)[0] == b"*"


@pytest.mark.parametrize(
    "target",
    [b"*", b"mosic.test:80", b"play", b"ftp://a/", b"http:///x", b"http://u@a/", b"http://a b/"],
)
def test_no_target(target: bytes) -> None:
    with pytest.raises(MalformedRequest):
        checked(b"GET", "1.1", target, HOST)


@pytest.mark.parametrize("fields", [[], HOST * 2, [(b"host", b"a b")], [(b"host", b"")]])
def test_one_valid_host(fields: list[tuple[bytes, bytes]]) -> None:
    for target in (b"/", b"http://a/"):
        with pytest.raises(MalformedRequest):
            checked(b"GET", "1.1", target, fields)


def test_http_1_0_needs_no_host_and_has_one_at_most() -> None:
    assert checked(b"GET", "1.0", b"/", []) == (b"/", [])
    with pytest.raises(MalformedRequest):
        checked(b"GET", "1.0", b"/", HOST * 2)


@pytest.mark.parametrize("method", [b"PROPFIND", b"CONNECT", b"QUERY", b"SOURCE"])
def test_methods_that_no_route_takes(method: bytes) -> None:
    with pytest.raises(MethodNotImplemented):
        checked(method, "1.1", b"/", HOST)


@pytest.mark.parametrize("version", ["0.9", "2.0", "3.0"])
def test_versions_that_are_not_supported(version: str) -> None:
    with pytest.raises(VersionNotSupported):
        check_protocol(b"GET / HTTP/%s\r\n" % version.encode(), version)


def test_other_protocols_that_look_alike() -> None:
    check_protocol(b"\r\nGET / HTTP/1.0\r\n", "1.0")
    check_protocol(b"GET / HTTP/1.2\r\n", "1.2")
    with pytest.raises(VersionNotSupported):
        check_protocol(b"\r\nGET / RTSP/1.0\r\n", "1.0")


@pytest.mark.parametrize("values", [[b"chunked"], [b" Chunked\t"], [b", chunked"], [b"", b"chunked"]])
def test_the_one_coding(values: list[bytes]) -> None:
    check_codings(values, "1.1")
    with pytest.raises(MalformedRequest):
        check_codings(values, "1.0")


@pytest.mark.parametrize(
    "values",
    [[b"gzip, chunked"], [b"gzip", b"chunked"], [b"identity"], [b"xchunked"], [b"chunked;a=b"]],
)
def test_other_codings(values: list[bytes]) -> None:
    with pytest.raises(CodingNotImplemented):
        check_codings(values, "1.1")


@pytest.mark.parametrize("values", [[b"chunked, chunked"], [b"chunked", b"gzip"]])
def test_codings_in_an_order_that_cannot_be(values: list[bytes]) -> None:
    with pytest.raises(MalformedRequest):
        check_codings(values, "1.1")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"FOO /x HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"\r\nget / HTTP/1.1\r\n", 501),
        (b"FO", 501),
        (b"FOO ", 501),
        (b"FOO /x HT", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nFOO / HTTP/1.1\r\n", 501),
        (b"NO METHOD OF HTTP\r\n", 400),
        (b"\0BAD\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"@ / HTTP/1.1\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\0BAD", 400),
    ],
)
def test_what_no_parser_reads(text: bytes, status: int) -> None:
    assert refusal_of_unread(text).status == status
