"""Cursors lead on from where a page ended, and nothing else is taken for one."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosic.errors import InvalidRequest
from mosic.wire.cursor import SortValue, decode_cursor, encode_cursor, next_link

ID = UUID("01935b7e-0000-7000-8000-0123456789ab")

any_text = st.text(st.characters())  # lone surrogates too
storable_text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
values: st.SearchStrategy[SortValue] = st.one_of(
    storable_text,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.datetimes(timezones=st.just(UTC)),
)


def refused(cursor: str, sort: str = "title", of: type[SortValue] = str) -> bool:
    """That it is refused in the promised way; a wrong way fails the test."""
    try:
        decode_cursor(cursor, sort, of)
    except InvalidRequest as error:
        (problem,) = error.extra["errors"]
        assert problem["loc"] == ["query", "cursor"]
        assert problem["msg"]
        return True
    return False


@given(st.sampled_from(["title", "-created_at"]), values, st.uuids())
def test_what_is_encoded_comes_back(sort: str, value: SortValue, row_id: UUID) -> None:
    cursor = encode_cursor(sort, value, row_id)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", cursor)
    decoded, decoded_id, _ = decode_cursor(cursor, sort, type(value))
    assert (decoded, decoded_id) == (value, row_id)
    assert type(decoded) is type(value)


@pytest.mark.parametrize("of", [str, int, float, datetime])
def test_a_missing_value_comes_back(of: type[SortValue]) -> None:
    assert decode_cursor(encode_cursor("title", None, ID), "title", of) == (None, ID, 0)


def test_moments_are_exact_and_come_back_in_utc() -> None:
    moment = datetime(2026, 11, 21, 3, 32, 1, 234_567, tzinfo=timezone(timedelta(hours=-7)))
    decoded, *_ = decode_cursor(encode_cursor("-created_at", moment, ID), "-created_at", datetime)
    assert decoded == moment
    assert isinstance(decoded, datetime)
    assert decoded.tzinfo is UTC


def test_a_whole_number_serves_where_a_float_is_sorted() -> None:
    decoded, *_ = decode_cursor(encode_cursor("duration", 240, ID), "duration", float)
    assert decoded == 240.0
    assert isinstance(decoded, float)


def test_a_cursor_of_another_order_is_refused() -> None:
    cursor = encode_cursor("title", "Blue", ID)
    assert not refused(cursor)
    assert refused(cursor, "-title")
    assert refused(cursor, "artist")
    assert refused(cursor, "")


@pytest.mark.parametrize(
    ("value", "of"),
    [
        ("Blue", int),
        ("Blue", float),
        ("2026-11-21T03:32:00Z", datetime),
        (5, str),
        (1.5, str),
        (1.5, int),
        (1.5, datetime),
        # What PostgreSQL, or its driver, cannot take
        ("nul\x00", str),
        (2**63, int),
        (-(2**63) - 1, int),
        (10**400, float),
        (10**400, int),
        (2**62, datetime),
        (True, int),
    ],
)
def test_a_value_that_the_column_cannot_hold_is_refused(value: SortValue, of: type[SortValue]) -> None:
    assert refused(encode_cursor("title", value, ID), of=of)


def forged(text: bytes) -> str:
    """What someone can make who has read the source."""
    content = ID.bytes + text
    check = hashlib.blake2s(content, digest_size=6).digest()
    return base64.urlsafe_b64encode(b"\x02" + check + content).rstrip(b"=").decode()


def test_a_well_forged_cursor_is_as_good_as_any() -> None:
    assert decode_cursor(forged(b'["title","Blue",0,""]'), "title", str) == ("Blue", ID, 0)


@pytest.mark.parametrize("of", [str, int, float, datetime])
@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"5",
        b'"ab"',
        b"{}",
        b'["title"]',
        b'["title",1,2]',
        b'["title",{}]',
        b'["title",[]]',
        b'["title",NaN]',
        b'["title",-Infinity]',
        b'["title",1e999]',
        b'["title","\\ud800"]',
        b'["title","\xff"]',
        b'["title",' + b"9" * 5000 + b"]",
        b"[" * 100_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_a_forged_cursor_gets_nothing_else_through(text: bytes, of: type[SortValue]) -> None:
    assert refused(forged(text), of=of)


@given(values, st.data())
def test_damage_is_noticed(value: SortValue, data: st.DataObject) -> None:
    cursor = encode_cursor("title", value, ID)
    length = data.draw(st.integers(0, len(cursor) - 1))
    assert refused(cursor[:length], of=type(value))
    assert refused(cursor[length + 1 :], of=type(value))
    assert refused(cursor + cursor, of=type(value))
    for stray in ("\n", " ", "!", "=", "é"):
        assert refused(cursor[:length] + stray + cursor[length:], of=type(value))


def test_every_change_of_a_letter_is_noticed() -> None:
    cursor = encode_cursor("title", "Kind of Blues!", ID)
    assert len(cursor) % 4 == 0  # each bit of each letter counts
    for place, letter in enumerate(cursor):
        for other in "AZaz09-_":
            if other != letter:
                assert refused(cursor[:place] + other + cursor[place + 1 :])


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "A",
        "====",
        "AQ",
        "garbage",
        "2",
        "-1",
        "null",
        "[]",
        "eyJpZCI6MX0",
        "é",
        "\x00",
        "a b",
        "a+/b",
        "A" * 1_000_000,
        "[" * 1_000_000,
        "' OR 1=1 --",
    ],
    ids=lambda cursor: repr(cursor[:12]),
)
def test_garbage_is_refused(cursor: str) -> None:
    assert refused(cursor)


@given(any_text | st.text("ABab01-_=", max_size=60))
def test_any_text_is_refused(cursor: str) -> None:
    assert refused(cursor)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://host/play?limit=2&cursor=AB-_", '<http://host/play?limit=2&cursor=AB-_>; rel="next"'),
        ("/play?q=a%20b&sort=-created_at", '</play?q=a%20b&sort=-created_at>; rel="next"'),
        ("http://[::1]:8000/play?q=%C3%A9#x", '<http://[::1]:8000/play?q=%C3%A9#x>; rel="next"'),
        ("/play?q=é", '</play?q=%C3%A9>; rel="next"'),
        ("/play?q=\ud800", '</play?q=?>; rel="next"'),
        ('/play?q=a>; rel="prev"', '</play?q=a%3E;%20rel=%22prev%22>; rel="next"'),
        ("/play?q=\r\nX: y", '</play?q=%0D%0AX:%20y>; rel="next"'),
    ],
)
def test_links(url: str, expected: str) -> None:
    assert next_link(url) == expected


@given(any_text)
def test_any_url_makes_one_link(url: str) -> None:
    assert re.fullmatch(r"<[!#-;=?-~]*>; rel=\"next\"", next_link(url))
