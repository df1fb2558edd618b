"""HTTP dates in their three forms (RFC 9110 §5.6.7)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosic.wire.dates import format_http_date, parse_http_date

NOW = datetime(2026, 11, 21, 3, 32, tzinfo=UTC)
RFC_MOMENT = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_the_three_forms_of_the_rfc(value: str) -> None:
    assert parse_http_date(value, now=NOW) == RFC_MOMENT


def test_the_preferred_form_is_written() -> None:
    assert format_http_date(RFC_MOMENT) == "Sun, 06 Nov 1994 08:49:37 GMT"


def test_fractions_are_cut_and_zones_converted() -> None:
    moment = datetime(1994, 11, 6, 1, 49, 37, 999_999, tzinfo=timezone(-timedelta(hours=7)))
    assert format_http_date(moment) == "Sun, 06 Nov 1994 08:49:37 GMT"


def test_a_moment_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        format_http_date(datetime(1994, 11, 6, 8, 49, 37))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("value", "year"),
    [
        ("Saturday, 21-Nov-26 03:32:00 GMT", 2026),
        ("Saturday, 21-Nov-76 03:32:00 GMT", 2076),  # exactly 50 years ahead is not more than 50
        ("Saturday, 21-Nov-76 03:32:01 GMT", 1976),
        ("Saturday, 22-Nov-76 00:00:00 GMT", 1976),
        ("Saturday, 01-Jan-76 00:00:00 GMT", 2076),
        ("Saturday, 01-Jan-77 00:00:00 GMT", 1977),
        ("Saturday, 01-Jan-99 00:00:00 GMT", 1999),
        ("Saturday, 01-Jan-00 00:00:00 GMT", 2000),
    ],
)
def test_two_digit_years_more_than_50_years_ahead_are_past(value: str, year: int) -> None:
    moment = parse_http_date(value, now=NOW)
    assert moment is not None
    assert moment.year == year


def test_leap_days_and_leap_seconds() -> None:
    leap_day = datetime(2024, 2, 29, 12, tzinfo=UTC)
    assert parse_http_date("Thursday, 29-Feb-24 12:00:00 GMT", now=leap_day) == leap_day
    assert parse_http_date("Thu, 29 Feb 2024 12:00:00 GMT", now=NOW) == leap_day
    assert parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT", now=NOW) == datetime(2017, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "0",
        "garbage",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06 Nov 01994 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Fri, 31 Dec 9999 23:59:60 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Xxx, 06 Nov 1994 08:49:37 GMT",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, ٠٦ Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun Nov 06 08:49:37 94",
        "1994-11-06T08:49:37Z",
        "784111777",
        "Sun, " * 200_000,
    ],
    ids=lambda value: repr(value[:64]),
)
def test_what_is_no_http_date_is_none(value: str) -> None:
    assert parse_http_date(value, now=NOW) is None


moments = st.datetimes(
    min_value=datetime(1, 1, 2),  # noqa: DTZ001
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.just(UTC),
)


@given(moments)
def test_what_is_written_is_what_the_library_writes_and_is_read_back(moment: datetime) -> None:
    written = format_http_date(moment)
    assert written == format_datetime(moment, usegmt=True)
    assert parse_http_date(written, now=NOW) == moment.replace(microsecond=0)


@given(moments)
def test_the_form_of_asctime_is_read_back(moment: datetime) -> None:
    assert parse_http_date(moment.ctime(), now=NOW) == moment.replace(microsecond=0)


@given(st.text(st.characters()))
def test_any_text_is_read_or_none(value: str) -> None:
    parsed = parse_http_date(value, now=NOW)
    assert parsed is None or parsed.tzinfo is UTC
