"""What goes to the source of an external clip and what comes back from it (RFC 9110)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from mosic.errors import RemoteFailed
from mosic.wire.ranges import Slice
from mosic.wire.retrieval import Retrieval, read_retrieval
from mosic.wire.upstream import UpstreamResponse, read_response, request_of

NOW = datetime(2026, 11, 30, tzinfo=UTC)
RANGE = {"Range": "bytes=0-99"}
PLAIN = [("Content-Type", "audio/mpeg")]
PART = [*PLAIN, ("Content-Range", "bytes 0-99/500")]


def asked_for(method: str, fields: Mapping[str, str]) -> Retrieval:
    by_name = {name.lower(): value for name, value in fields.items()}
    return read_retrieval(method, by_name, lambda: NOW)


def asked_fields(method: str, fields: Mapping[str, str]) -> Mapping[str, str]:
    return request_of(asked_for(method, fields)).headers


def response(status: int, asked: Mapping[str, str], sent: list[tuple[str, str]]) -> UpstreamResponse:
    lines = [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in sent]
    return read_response(status, request_of(asked_for("GET", asked)), lines)


def passed_headers(status: int, asked: Mapping[str, str], sent: list[tuple[str, str]]) -> Mapping[str, str]:
    return response(status, asked, sent).headers


def test_preconditions_and_one_range_are_asked_for() -> None:
    fields = {
        "range": "bytes=0-99",
        "if-range": '"a"',
        "IF-NONE-MATCH": '"a", "b"',
        "If-Match": "*",
        "If-Modified-Since": "Sat, 29 Oct 1994 19:43:31 GMT",
        "If-Unmodified-Since": "Sat, 29 Oct 1994 19:43:31 GMT",
    }
    assert asked_fields("GET", fields) == {
        "Range": "bytes=0-99",
        "If-Range": '"a"',
        "If-None-Match": '"a", "b"',
        "If-Match": "*",
        "If-Modified-Since": "Sat, 29 Oct 1994 19:43:31 GMT",
        "If-Unmodified-Since": "Sat, 29 Oct 1994 19:43:31 GMT",
    }


def test_nothing_else_of_the_client_reaches_the_source() -> None:
    fields = {"Cookie": "a=b", "Authorization": "Basic x", "X-API-Key": "k", "X-Forwarded-For": "10.0.0.1"}
    assert (
        asked_fields("GET", fields | {"Host": "other", "Connection": "upgrade", "Accept-Encoding": "gzip"})
        == {}
    )


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("bytes=0-", "bytes=0-"),
        ("bytes=-500", "bytes=-500"),
        ("Bytes=7-7", "bytes=7-7"),
        ("bytes= 0-1 ", "bytes=0-1"),
        ("bytes=0-1,", "bytes=0-1"),
        ("bytes=0-" + "9" * 30, "bytes=0-1000000000000000000"),
    ],
)
def test_one_range_is_asked_for_in_its_plainest_form(value: str, sent: str) -> None:
    assert asked_fields("GET", {"Range": value}) == {"Range": sent}


@pytest.mark.parametrize(
    "value",
    [
        "bytes=0-1,5-6",
        "bytes=-",
        "bytes=",
        "items=0-5",
        "bytes 0-5",
        "bytes=a-b",
        "bytes=5-4",
        "0-5",
        "",
    ],
)
def test_another_range_is_not_asked_for_so_that_the_answer_is_the_whole(value: str) -> None:
    assert asked_fields("GET", {"Range": value, "If-Range": '"a"'}) == {}


def test_a_head_has_no_range() -> None:
    assert asked_fields("HEAD", RANGE | {"If-Range": '"a"', "If-None-Match": '"a"'}) == {
        "If-None-Match": '"a"'
    }


@pytest.mark.parametrize("value", ["a\r\nX: 1", "a\x00", "ä", "\udcff"])
def test_a_field_that_could_break_the_request_is_dropped(value: str) -> None:
    assert asked_fields("GET", {"If-None-Match": value}) == {}


def test_only_named_headers_are_passed() -> None:
    answer = [
        *PLAIN,
        ("Content-Length", "500"),
        ("Accept-Ranges", "Bytes"),
        ("ETag", '"a"'),
        ("Last-Modified", "Sat, 29 Oct 1994 19:43:31 GMT"),
        ("Set-Cookie", "a=b"),
        ("Location", "http://elsewhere.example/"),
        ("Content-Disposition", "attachment; filename=x.exe"),
        ("Access-Control-Allow-Origin", "*"),
        ("Strict-Transport-Security", "max-age=1"),
        ("Server", "inner-host-7"),
        ("Content-Range", "bytes 0-99/500"),
        ("Refresh", "0; url=http://elsewhere.example/"),
    ]
    assert passed_headers(200, {}, answer) == {
        "Content-Type": "audio/mpeg",
        "Content-Length": "500",
        "Accept-Ranges": "bytes",
        "ETag": '"a"',
        "Last-Modified": "Sat, 29 Oct 1994 19:43:31 GMT",
    }


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        ("audio/mpeg", "audio/mpeg"),
        ("Audio/MPEG", "audio/mpeg"),
        ("audio/ogg; codecs=opus", "audio/ogg; codecs=opus"),
        ('audio/mp4;codecs="mp4a.40.2"', 'audio/mp4; codecs="mp4a.40.2"'),
        ("video/mp4", "video/mp4"),
        ("application/ogg", "application/ogg"),
        ("application/octet-stream", "application/octet-stream"),
        ("binary/octet-stream", "application/octet-stream"),
        ("", "application/octet-stream"),
        ("audio/mpeg; x=<script>", "audio/mpeg"),
        ("audio/mpeg; é=1", "audio/mpeg"),
    ],
)
def test_types_of_sound_are_passed(sent: str, passed: str) -> None:
    assert passed_headers(200, {}, [("content-type", sent)])["Content-Type"] == passed


def test_bytes_without_a_type_are_just_bytes() -> None:
    assert passed_headers(200, {}, [])["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "sent",
    [
        "text/html",
        "text/html; charset=utf-8",
        "text/plain",
        "application/javascript",
        "application/xhtml+xml",
        "image/svg+xml",
        "multipart/byteranges; boundary=x",
        "audio",
        "audio/",
        "audio/mpeg, text/html",
        "text/html;audio/mpeg",
        "*/*",
        "nonsense",
    ],
)
def test_other_types_are_failures(sent: str) -> None:
    with pytest.raises(RemoteFailed):
        passed_headers(200, {}, [("Content-Type", sent)])


def test_a_second_type_does_not_hide_behind_the_first() -> None:
    with pytest.raises(RemoteFailed):
        passed_headers(200, {}, [("Content-Type", "audio/mpeg"), ("content-type", "text/html")])


@pytest.mark.parametrize("name", ["Content-Encoding", "Transfer-Encoding"])
@pytest.mark.parametrize("value", ["gzip", "br", "identity, gzip", "GZIP", "gzip, chunked"])
def test_coded_bytes_are_failures(name: str, value: str) -> None:
    with pytest.raises(RemoteFailed):
        passed_headers(200, {}, [*PLAIN, (name, value)])


def test_identity_is_no_coding() -> None:
    assert "Content-Encoding" not in passed_headers(200, {}, [*PLAIN, ("Content-Encoding", "identity")])


def test_a_length_beside_chunks_means_nothing() -> None:
    answer = [*PLAIN, ("Content-Length", "5"), ("Transfer-Encoding", "chunked")]
    assert "Content-Length" not in passed_headers(200, {}, answer)


def test_a_part_is_passed_with_its_place() -> None:
    headers = passed_headers(206, RANGE, [*PART, ("Content-Length", "100")])
    assert headers["Content-Range"] == "bytes 0-99/500"
    assert headers["Content-Length"] == "100"
    found = response(206, RANGE, [*PART, ("Content-Length", "100")])
    assert found.length == 100
    assert found.content_range is not None
    assert (found.content_range.part, found.content_range.size) == (Slice(0, 100), 500)
    assert passed_headers(206, RANGE, [*PLAIN, ("Content-Range", "bytes 0-99/*")])["Content-Range"]


@pytest.mark.parametrize(
    "content_range",
    ["", "bytes */500", "bytes 0-99", "bytes 99-0/500", "bytes 0-500/500", "items 0-99/500", "bytes 0-99/x"],
)
def test_a_part_that_does_not_say_which_is_a_failure(content_range: str) -> None:
    with pytest.raises(RemoteFailed):
        passed_headers(206, RANGE, [*PLAIN, ("Content-Range", content_range)])


def test_a_part_of_another_length_than_it_says_is_a_failure() -> None:
    with pytest.raises(RemoteFailed):
        passed_headers(206, RANGE, [*PART, ("Content-Length", "99")])


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        (206, {}),
        (206, {"If-None-Match": '"a"'}),
        (416, {}),
        (304, {}),
        (304, RANGE),
        (412, {}),
        (412, {"If-None-Match": '"a"'}),
        (201, RANGE),
        (204, {}),
        (300, {}),
        (404, {}),
        (500, RANGE),
        (101, {}),
    ],
)
def test_an_answer_to_what_was_not_asked_is_a_failure_that_names_the_status(
    status: int, asked: dict[str, str]
) -> None:
    with pytest.raises(RemoteFailed, match=str(status)):
        passed_headers(status, asked, PART)


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        (304, {"If-None-Match": '"a"'}),
        (304, {"If-Modified-Since": "x"}),
        (412, {"If-Match": '"a"'}),
        (416, RANGE),
    ],
)
def test_answers_without_audio_carry_validators_but_nothing_of_the_page_sent_with_them(
    status: int, asked: dict[str, str]
) -> None:
    answer = [
        ("Content-Type", "text/html"),
        ("Content-Length", "300"),
        ("Content-Encoding", "gzip"),
        ("ETag", '"a"'),
    ]
    assert passed_headers(status, asked, answer) == {"ETag": '"a"'}


def test_an_unsatisfied_range_is_told_the_size() -> None:
    assert passed_headers(416, RANGE, [("Content-Range", "bytes */500")]) == {"Content-Range": "bytes */500"}
    found = response(416, RANGE, [("Content-Range", "bytes */500")]).content_range
    assert found is not None
    assert (found.part, found.size) == (None, 500)
    assert passed_headers(416, RANGE, [("Content-Range", "bytes 0-1/500")]) == {}


@pytest.mark.parametrize("etag", ["a", '"a', '"a"b"', '"ä"', '"a", "b"', "w/x", '"\udcff"', '"a\x00"'])
def test_a_broken_validator_is_dropped(etag: str) -> None:
    assert "ETag" not in passed_headers(200, {}, [*PLAIN, ("ETag", etag)])


@pytest.mark.parametrize("etag", ['"a"', 'W/"a"', '""', '"!#x"'])
def test_a_good_validator_is_passed(etag: str) -> None:
    assert passed_headers(200, {}, [*PLAIN, ("ETag", etag)])["ETag"] == etag


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("bytes=0-4", "bytes 0-4/9"),
        ("bytes=0-4", "bytes 0-4/*"),
        ("bytes=0-4", "bytes 0-2/9"),
        ("bytes=0-99", "bytes 0-8/9"),
        ("Bytes= 3- ", "bytes 3-8/9"),
        ("bytes=3-", "bytes 3-5/9"),
        ("bytes=-4", "bytes 5-8/9"),
        ("bytes=-4", "bytes 5-8/*"),
        ("bytes=-99", "bytes 0-8/9"),
    ],
)
def test_a_part_that_answers_what_was_asked(asked: str, sent: str) -> None:
    """It may be less than was asked for, as it says so itself (RFC 9110 §15.3.7)."""
    answer = [*PLAIN, ("Content-Range", sent)]
    assert passed_headers(206, {"Range": asked}, answer)["Content-Range"] == sent


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("bytes=0-4", "bytes 1-4/9"),
        ("bytes=0-4", "bytes 0-5/9"),
        ("bytes=4-6", "bytes 0-8/9"),
        ("bytes=3-", "bytes 0-8/9"),
        ("bytes=3-", "bytes 4-8/9"),
        ("bytes=-4", "bytes 0-8/9"),
        ("bytes=-4", "bytes 0-3/9"),
        ("bytes=-4", "bytes 0-8/*"),
    ],
)
def test_a_part_from_elsewhere(asked: str, sent: str) -> None:
    with pytest.raises(RemoteFailed, match="another part"):
        passed_headers(206, {"Range": asked}, [*PLAIN, ("Content-Range", sent)])


def test_a_part_of_another_file_than_if_range_names() -> None:
    """RFC 9110 §13.1.5: a player would put the pieces of two files together."""
    asked = {"Range": "bytes=0-4", "If-Range": '"a"'}
    part = [*PLAIN, ("Content-Range", "bytes 0-4/9")]
    assert passed_headers(206, asked, [*part, ("ETag", '"a"')])["ETag"] == '"a"'
    assert passed_headers(206, asked, part)
    for etag in ('"b"', 'W/"a"'):
        with pytest.raises(RemoteFailed, match="another part"):
            passed_headers(206, asked, [*part, ("ETag", etag)])


def test_nothing_long_is_passed() -> None:
    """Proxies take heads of 4 KB."""
    long = "x" * 5000
    answer = [
        ("Content-Type", f"audio/mpeg; x={long}"),
        ("ETag", f'"{long}"'),
        ("Last-Modified", long),
        ("Accept-Ranges", long),
    ]
    assert passed_headers(200, {}, answer) == {"Content-Type": "audio/mpeg"}
    with pytest.raises(RemoteFailed):
        passed_headers(200, {}, [("Content-Type", f"audio/{long}")])
