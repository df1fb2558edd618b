"""What is read of a request takes time in proportion to its length, whatever stands in it.

Every function of `mosic.wire` that reads text from outside is given its worst inputs, at the limit of a
head and at an eighth of it. One that goes over a text again and again takes 64 times as long for eight
times the length, and a few kilobytes of it then stop the service for everybody.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from time import process_time
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from starlette.datastructures import Headers

import mosic.wire
import mosic.wire.fields as header_fields
from mosic.errors import MosicError
from mosic.server.limits import MAX_HEAD_SIZE
from mosic.web.auth import check_key
from mosic.web.hosts import only_allowed_hosts
from mosic.web.instrument import choose_request_id
from mosic.web.parameters import refuse_unknown
from mosic.web.paths import routed_path
from mosic.web.proxies import client_address, described
from mosic.web.requestlog import written_path
from mosic.wire import (
    accel,
    addresses,
    apikeys,
    charsets,
    conditions,
    cursor,
    dates,
    digest,
    disposition,
    filenames,
    folding,
    forwarded,
    ids,
    lrc,
    owndata,
    partheaders,
    problem,
    ranges,
    redaction,
    requesthead,
    retrieval,
    signing,
    text,
    tus,
    upstream,
)

PART = 8
MOST = 20
"""Times as long for `PART` times the length: far from the 8 of a good reader and from the 64 of a bad one, so
that a busy machine makes neither of them the other."""

SIZES = {2048: 0.002, MAX_HEAD_SIZE: 0.05}
"""Characters; and the seconds that are too short to be told from noise, which do no harm either."""

UNITS = [
    *(
        '\\"',
        '"',
        ";",
        ",",
        " ",
        "\t",
        "=",
        "\\",
        "%",
        "%22",
        "%c3",
        "a",
        "0",
        "-",
        ":",
        ".",
        "*",
        "(",
        "[",
        "/",
    ),
    *(
        'a="',
        'a="b",',
        "a=b;",
        "a=b,",
        "a ",
        "a,",
        " ,",
        ", ",
        "; ",
        '"a"',
        '" ',
        'W/"',
        '"a" ',
        '"\\',
        "a;",
        '",',
    ),
    *(
        "0-1,",
        "-1,",
        "0-",
        "1, ",
        "é",
        "\xff",
        "=?",
        "=?utf-8?q?=",
        "?=",
        "''",
        "utf-8''%",
        "../",
        "a=:YQ==:,",
    ),
    *(
        "a&",
        "a=b&",
        "a YQ==,",
        "name=",
        'filename="',
        "GMT",
        "127.0.0.1,",
        "for=1;",
        "for=1,",
        'for="',
        "]",
        "@",
    ),
    *("xn--", "\u0301", "\ufb01", "<", "{", "+", "01935b7e-"),
]

NOW = datetime(2026, 11, 29, tzinfo=UTC)
VALIDATORS = conditions.Validators('"x"', NOW)
SIGNER = signing.UrlSigner(b"secret", 100)
Reader = Callable[[str], object]


def fields(*names: str, read: Callable[[dict[str, str]], object]) -> list[Reader]:
    return [lambda value, name=name: read({name: value}) for name in names]  # type: ignore[misc]


def raw(*names: str, read: Callable[[list[tuple[bytes, bytes]]], object], **more: str) -> list[Reader]:
    others = [(name.replace("_", "-").encode(), value.encode()) for name, value in more.items()]
    return [
        lambda value, name=name: read([*others, (name.encode(), value.encode("latin-1", "replace"))])  # type: ignore[misc]
        for name in names
    ]


def framed(read: Reader, *frames: str) -> list[Reader]:
    return [lambda value, frame=frame: read(frame.replace("{}", value)) for frame in frames]  # type: ignore[misc]


def in_bytes(read: Callable[[bytes], object]) -> Reader:
    return lambda value: read(value.encode("latin-1", "replace"))


def retrieved(found: dict[str, str]) -> retrieval.Retrieval:
    return retrieval.read_retrieval("GET", found, lambda: NOW)


def part(answer: dict[str, str]) -> object:
    complete = {"Content-Type": "audio/mpeg", "Content-Range": "bytes 0-1/2", **answer}
    request = upstream.request_of(retrieved({"range": "bytes=0-1", "if-range": '"x"'}))
    lines = [(name.encode(), value.encode("latin-1", "replace")) for name, value in complete.items()]
    return upstream.read_response(206, request, lines)


def check_head(target: bytes, *found: tuple[bytes, bytes]) -> object:
    return requesthead.check_head(b"GET", "1.1", target, list(found), dict(found))


READERS: dict[str, list[Reader]] = {
    "accel.can_hand_over": fields(
        "range", "if-range", read=lambda f: accel.can_hand_over(retrieved(f), '"x"', 206)
    ),
    "addresses.check_url": framed(
        addresses.check_url, "{}", "http://{}/", "http://h.example/{}", "http://[{}]/"
    ),
    "addresses.ascii_url": framed(addresses.ascii_url, "{}", "http://h.example/{}"),
    "addresses.redirected": framed(
        lambda value: addresses.redirected(addresses.check_url("http://h.example/x"), value),
        "{}",
        "//{}",
        "x{}",
    ),
    "apikeys.is_key": [apikeys.is_key],
    "apikeys.is_key_name": [apikeys.is_key_name],
    "charsets.codec_of": [charsets.codec_of],
    "charsets.decoded": [in_bytes(charsets.decoded), lambda value: charsets.decoded(b"x", value)],
    "charsets.western": [in_bytes(charsets.western)],
    "conditions.evaluate": fields(
        *("if-match", "if-none-match", "if-modified-since", "if-unmodified-since"),
        read=lambda f: conditions.evaluate("GET", retrieved(f).preconditions, VALIDATORS),
    ),
    "conditions.if_range_holds": fields(
        "if-range", read=lambda f: conditions.if_range_holds(retrieved(f).preconditions, VALIDATORS)
    ),
    "conditions.read_preconditions": fields(
        *conditions.PRECONDITIONS, read=lambda f: conditions.read_preconditions(f, lambda: NOW)
    ),
    "cursor.decode_cursor": [lambda value: cursor.decode_cursor(value, "x", str)],
    "dates.parse_http_date": framed(
        lambda value: dates.parse_http_date(value, now=NOW), "{}", "Sun, {}", "Sun, 06 Nov {}"
    ),
    "digest.declared_sha256": framed(
        digest.declared_sha256, "{}", "sha-256=:{}:", "sha-256=:{}", "a=({})", 'a="{}'
    ),
    "disposition.content_disposition": [lambda value: disposition.content_disposition("inline", value)],
    "disposition.name_to_save": [disposition.name_to_save],
    "disposition.safe_file_name": [disposition.safe_file_name],
    "lrc.parse_lrc": framed(lrc.parse_lrc, "{}", "[00:{}]x", "[{}:01]x"),
    "owndata.own_data_from": framed(owndata.own_data_from, "{}", '{"a": "{}"}', '{"a": [{}]}'),
    "folding.document": [folding.document],
    "folding.fold": [folding.fold, lambda value: folding.fold("é" + value)],
    "folding.search_words": [folding.search_words],
    "fields.essence_of": [header_fields.essence_of],
    "fields.parse_length": [header_fields.parse_length],
    "fields.fields_by_name": [in_bytes(lambda value: header_fields.fields_by_name([(value, value)]))],
    "fields.select_fields": [
        in_bytes(lambda value: header_fields.select_fields([(b"x", value)] * 2, {b"x": "x"}))
    ],
    "filenames.plain_file_name": [filenames.plain_file_name],
    "filenames.extended_file_name": framed(
        lambda value: filenames.extended_file_name(value, instead=value), "{}", "utf-8''{}", "x'{}'y"
    ),
    "filenames.without_browser_escapes": [filenames.without_browser_escapes],
    "forwarded.nearest_first": [
        in_bytes(lambda value, name=name: list(forwarded.nearest_first({name: [value]})))  # type: ignore[misc]
        for name in forwarded.FIELDS
    ],
    "ids.is_uuid": [ids.is_uuid],
    "ids.parse_uuid": [ids.parse_uuid],
    "partheaders.boundary_of": framed(
        lambda value: partheaders.boundary_of(value, 70),
        *(
            "{}",
            "multipart/form-data{}",
            "multipart/form-data; boundary={}",
            'multipart/form-data; boundary="{}"',
        ),
    ),
    "partheaders.charset_of": framed(
        partheaders.charset_of, "{}", "text/plain{}", 'text/plain; charset="{}"'
    ),
    "partheaders.disposition_of": framed(
        in_bytes(lambda value: partheaders.disposition_of(value, 1000)),
        *(
            "{}",
            "form-data{}",
            'form-data; name="{}"',
            'form-data; name="a"; filename="{}"',
            'form-data; name="{}',
        ),
        *(
            'form-data; name="a"; filename="{}',
            'form-data; name="a"; filename={}',
            "form-data; name=a; filename*={}",
        ),
        "form-data; name=a; filename*=utf-8''{}",
    ),
    "problem.cut": [lambda value: problem.cut(value, 100)],
    "ranges.parse_range": framed(ranges.parse_range, "{}", "bytes={}", "bytes=0-1{}"),
    "ranges.parse_content_range": framed(
        ranges.parse_content_range, "{}", "bytes {}", "bytes 0-{}/9", "bytes 0-1/{}", "bytes */{}"
    ),
    "retrieval.read_retrieval": fields(*retrieval.RETRIEVAL_FIELDS, read=retrieved),
    "redaction.redacted": framed(redaction.redacted, "{}", "http://{}", "x-api-key: {}", "key={}"),
    "requesthead.check_codings": [in_bytes(lambda value: requesthead.check_codings([value], "1.1"))],
    "requesthead.check_head": [
        in_bytes(lambda value: check_head(b"/", (b"host", value))),
        in_bytes(lambda value: check_head(value, (b"host", b"a.example"))),
        in_bytes(lambda value: check_head(b"http://" + value, (b"host", b"a.example"))),
        in_bytes(lambda value: check_head(b"/", (b"host", b"a.example"), (b"x", value))),
    ],
    "requesthead.check_protocol": framed(
        in_bytes(lambda value: requesthead.check_protocol(value, "1.0")), "{}", "GET {}", "GET / {}"
    ),
    "requesthead.is_host": framed(in_bytes(requesthead.is_host), "{}", "[{}]", "a:{}"),
    "requesthead.refusal_of_unread": framed(
        in_bytes(requesthead.refusal_of_unread), "{}", "X {}", "GET / HTTP/1.1\r\n{}", "X / HTTP/1.1{}"
    ),
    "signing.is_signed": [in_bytes(signing.is_signed)],
    "signing.UrlSigner": framed(
        in_bytes(lambda value: SIGNER.check("stream", UUID(int=1), value, 0)),
        *("{}", "expires=9&signature={}", "expires={}&signature=x"),
    ),
    "text.clean": [text.clean],
    "text.clean_line": [text.clean_line],
    "text.escaped": [text.escaped],
    "text.is_harmless": [text.is_harmless],
    "tus.effective_method": raw("x-http-method-override", read=lambda f: tus.effective_method("POST", f)),
    "tus.check_version": raw("tus-resumable", read=tus.check_version),
    "tus.parse_metadata": framed(tus.parse_metadata, "{}", "a {}", "a YQ==,{}"),
    "tus.parse_creation": raw(
        *(
            "upload-length",
            "upload-metadata",
            "upload-checksum",
            "repr-digest",
            "content-type",
            "content-length",
        ),
        read=lambda f: tus.parse_creation(f, max_size=9),
    ),
    "tus.parse_append": raw(
        *("upload-offset", "upload-length", "upload-checksum", "content-length"),
        read=tus.parse_append,
        content_type=tus.CONTENT_TYPE,
    ),
    "upstream.request_of": fields(
        *("range", "if-range", "if-none-match"), read=lambda f: upstream.request_of(retrieved(f))
    ),
    "upstream.read_response": fields(
        *("Content-Type", "Content-Range", "Content-Length", "Content-Encoding", "ETag", "Last-Modified"),
        *("Accept-Ranges", "Transfer-Encoding"),
        read=part,
    ),
}
# What is given no text from outside: it prints, or reads what has been read.
NO_READERS = {
    *("accel.handed_over", "addresses.is_allowed", "byteranges.frame", "conditions.modified_by"),
    *("cursor.encode_cursor", "cursor.next_link", "dates.format_http_date", "digest.digest_field"),
    *(
        "problem.error_response",
        "ranges.resolve",
        "tus.settle_length",
        "tus.options_headers",
        "tus.head_headers",
    ),
    "tus.offset_headers",
    # Of what the service has made itself.
    *("waveform.read_dat", "waveform_svg.as_svg", "lrc.print_lrc", "lrc.print_vtt"),
    # Of values of 16 KiB at most.
    *("owndata.own_data", "owndata.merged", "owndata.same_data", "owndata.unique_names"),
    # Of operators.
    *("apikeys.parse_key_list", "apikeys.parse_key_file", "apikeys.without_name"),
}


def scope(name: str, value: bytes, **more: Any) -> dict[str, Any]:
    fields = [(name.encode(), value)]
    return {
        "type": "http",
        "method": "GET",
        "path": "/",
        "client": ("127.0.0.1", 1),
        "headers": fields,
        **more,
    }


def host(value: bytes) -> None:
    """Through the layer, up to its refusal."""
    settings: Any = SimpleNamespace(allowed_hosts=("a.example",), public_url=None, forwarded_allow_ips="*")
    layer: Any = only_allowed_hosts(lambda *_: None, settings, SimpleNamespace(metrics=None))  # type: ignore[arg-type]
    layer._allows(scope("host", value))


RUNTIME: Any = SimpleNamespace(
    keys=SimpleNamespace(holder=lambda _: None),
    metrics=SimpleNamespace(keys=SimpleNamespace(refused=lambda: None)),
    settings=SimpleNamespace(forwarded_allow_ips="*"),
    key_failures=SimpleNamespace(add=lambda *_: 0),
)
OF_REQUESTS: dict[str, list[Reader]] = {
    "proxies.described": [
        in_bytes(lambda value, name=name: described(scope(name, value), "*"))  # type: ignore[misc]
        for name in (
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-prefix",
            "x-forwarded-proto",
        )
    ],
    "proxies.client_address": [
        in_bytes(lambda value, name=name: client_address(scope(name, value), "127.0.0.0/8"))  # type: ignore[misc]
        for name in ("forwarded", "x-forwarded-for")
    ],
    "hosts": [in_bytes(host)],
    "paths": [in_bytes(lambda value: routed_path({"path": "/", "raw_path": b"/%" + value}))],
    "parameters": [
        in_bytes(lambda value: refuse_unknown(SimpleNamespace(scope={"query_string": value}), ()))  # type: ignore[arg-type]
    ],
    "paths in logs": framed(
        in_bytes(lambda value: written_path({"path": "/", "raw_path": value}, refused=True)),
        *("/{}", "/play/{}/stream"),
    ),
    "request id": [choose_request_id],
    "keys": [
        in_bytes(lambda value, name=name: check_key(RUNTIME, scope(name, value)))  # type: ignore[misc]
        for name in ("x-api-key", "authorization")
    ],
    "headers": [lambda value: Headers({"content-type": value}).get("content-type", "").partition(";")],
}


def public_functions() -> Iterator[str]:
    for module in pkgutil.iter_modules(mosic.wire.__path__):
        loaded = importlib.import_module(f"mosic.wire.{module.name}")
        for name, value in vars(loaded).items():
            if inspect.isfunction(value) and value.__module__ == loaded.__name__ and not name.startswith("_"):
                yield f"{module.name}.{name}"


def test_every_reader_is_timed() -> None:
    timed = set(READERS) - {"signing.UrlSigner"}
    assert set(public_functions()) == timed | NO_READERS
    assert not timed & NO_READERS


def seconds(read: Reader, value: str) -> float:
    began = process_time()
    with suppress(MosicError, ValueError):
        read(value)
    return process_time() - began


def is_slow(read: Reader, value: str, too_short: float) -> bool:
    """Whatever else the machine does only adds. So the least of several counts, of each length, taken by
    turns: a busy moment then meets both."""
    long = short = float("inf")
    for _ in range(8):
        long = min(long, seconds(read, value))
        if long < too_short:
            return False
        short = min(short, seconds(read, value[-len(value) // PART :]))
        if long < MOST * short:
            return False
    return True


def slow_input(read: Reader, units: Sequence[str] = UNITS) -> str | None:
    """Of which unit so many times as many take far more than so many times the time."""
    for size, too_short in SIZES.items():
        for unit in units:
            # What comes last decides whether a reader has to look for another way through all before it.
            value = unit * (size // len(unit)) + "\x01"
            if is_slow(read, value, too_short):
                return f"{unit!r} takes too long for {len(value)} characters"
    return None


@pytest.mark.parametrize("name", [*READERS, *OF_REQUESTS])
def test_time_is_in_proportion_to_length(name: str) -> None:
    for number, read in enumerate((READERS | OF_REQUESTS)[name]):
        assert slow_input(read) is None, f"{name}, way {number}"


def test_such_a_test_can_fail() -> None:
    """Also for a reader that looks at a part only, which is long enough to do harm."""

    def from_every_letter(value: str) -> None:
        value = value[-2048:]
        for start in range(len(value)):
            sum(1 for _ in value[start::8])

    assert slow_input(from_every_letter) is not None


def test_it_does_not_fail_for_one_that_only_takes_its_time() -> None:
    times = 40

    def again_and_again(value: str) -> None:
        for _ in range(times):
            sum(1 for _ in value)

    while seconds(again_and_again, "a" * MAX_HEAD_SIZE) <= SIZES[MAX_HEAD_SIZE]:
        times *= 2
    assert slow_input(again_and_again, ("a", "a=b,")) is None
