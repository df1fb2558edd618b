"""Preconditions, judged by RFC 9110 §13."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosic.wire import conditions
from mosic.wire.conditions import Validators, Verdict, modified_by, read_preconditions
from mosic.wire.dates import format_http_date

MODIFIED = datetime(2026, 3, 1, 12, 30, 45, 678_901, tzinfo=UTC)
SAME = "Sun, 01 Mar 2026 12:30:45 GMT"
LATER = "Sun, 01 Mar 2026 12:30:46 GMT"
EARLIER = "Sun, 01 Mar 2026 12:30:44 GMT"
SAME_RFC_850 = "Sunday, 01-Mar-26 12:30:45 GMT"
SAME_ASCTIME = "Sun Mar  1 12:30:45 2026"

STRONG = Validators('"etag"', MODIFIED)
WEAK = Validators('W/"etag"', MODIFIED)

PROCEED, NOT_MODIFIED, FAILED = Verdict.PROCEED, Verdict.NOT_MODIFIED, Verdict.PRECONDITION_FAILED


def evaluate(method: str, fields: dict[str, str], validators: Validators) -> Verdict:
    return conditions.evaluate(method, read_preconditions(fields, lambda: MODIFIED), validators)


def if_range_holds(value: str | None, validators: Validators) -> bool:
    fields = {} if value is None else {"if-range": value}
    return conditions.if_range_holds(read_preconditions(fields, lambda: MODIFIED), validators)


def test_without_preconditions_all_proceed() -> None:
    assert evaluate("GET", {"range": "bytes=0-4", "if-range": '"other"'}, STRONG) is PROCEED


@pytest.mark.parametrize(
    ("value", "strongly", "weakly"),
    [  # whether `"etag"` matches, by the strong and the weak comparison of §8.8.3.2
        ('"etag"', True, True),
        ('W/"etag"', False, True),
        ('"other"', False, False),
        ('W/"other"', False, False),
        ("*", True, True),
        (" * ", True, True),
        ('"a", "etag"', True, True),
        ('"a", W/"etag"', False, True),
        ('W/"etag", "etag"', True, True),
        ('"a","etag","b"', True, True),
        (', , "a" ,\t"etag" , ', True, True),
        ('"a,b", "etag"', True, True),  # a comma within a tag
        ('"a, "etag', False, False),
        ('"etag,"', False, False),
        ('"x,\\"etag\\",y"', False, False),  # the backslash escapes nothing in a tag
        ('",","etag",","', True, True),
        ('","etag","', False, False),
        ("", False, False),
        (",", False, False),
        ("etag", False, False),
        ("'etag'", False, False),
        ('"etag', False, False),
        ('etag"', False, False),
        ('"ETAG"', False, False),
        ('w/"etag"', False, False),
        ('W/ "etag"', False, False),
        ('W"etag"', False, False),
        ('W/W/"etag"', False, False),
        ('"etag" "other"', False, False),  # not a list: nothing in it counts
        ('"etag"; q=1', False, False),
        ('"etag", junk', False, False),
        ('junk, "etag"', False, False),
        ('*, "etag"', False, False),
        ('"etag", *', False, False),
        ("**", False, False),
        ('"e\x00tag", "etag"', False, False),
        ('"e tag", "etag"', False, False),
        ('"\u0100", "etag"', False, False),
        ('"\xfc\xff", "etag"', True, True),  # obs-text
        ('"!#~", "etag"', True, True),
    ],
)
def test_lists_of_entity_tags(value: str, strongly: bool, weakly: bool) -> None:  # R21, R23
    assert (evaluate("GET", {"if-match": value}, STRONG) is PROCEED) == strongly
    assert (evaluate("GET", {"if-none-match": value}, STRONG) is NOT_MODIFIED) == weakly
    assert (evaluate("DELETE", {"if-match": value}, STRONG) is PROCEED) == strongly
    assert (evaluate("DELETE", {"if-none-match": value}, STRONG) is FAILED) == weakly  # R22


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "DELETE", "PUT", "POST"])
def test_if_match_that_fails_is_412_whatever_the_method(method: str) -> None:  # R23
    assert evaluate(method, {"if-match": '"other"'}, STRONG) is FAILED


@pytest.mark.parametrize(
    ("method", "verdict"),
    [("GET", NOT_MODIFIED), ("HEAD", NOT_MODIFIED), ("PATCH", FAILED), ("DELETE", FAILED), ("PUT", FAILED)],
)
def test_if_none_match_that_fails_is_304_for_readers_only(method: str, verdict: Verdict) -> None:  # R21, R22
    assert evaluate(method, {"if-none-match": '"etag"'}, STRONG) is verdict
    assert evaluate(method, {"if-none-match": "*"}, STRONG) is verdict
    assert evaluate(method, {"if-none-match": '"other"'}, STRONG) is PROCEED


def test_a_weak_current_tag_only_matches_weakly() -> None:
    assert evaluate("GET", {"if-match": 'W/"etag"'}, WEAK) is FAILED
    assert evaluate("GET", {"if-match": '"etag"'}, WEAK) is FAILED
    assert evaluate("GET", {"if-match": "*"}, WEAK) is PROCEED
    assert evaluate("GET", {"if-none-match": 'W/"etag"'}, WEAK) is NOT_MODIFIED
    assert evaluate("GET", {"if-none-match": '"a", "etag"'}, WEAK) is NOT_MODIFIED


def test_without_a_current_tag_only_the_asterisk_matches() -> None:
    bare = Validators(None, MODIFIED)
    assert evaluate("GET", {"if-match": '"etag"'}, bare) is FAILED
    assert evaluate("GET", {"if-match": "*"}, bare) is PROCEED
    assert evaluate("GET", {"if-none-match": '"etag"'}, bare) is PROCEED
    assert evaluate("GET", {"if-none-match": "*"}, bare) is NOT_MODIFIED


@pytest.mark.parametrize(
    ("value", "if_modified", "if_unmodified"),
    [
        (SAME, NOT_MODIFIED, PROCEED),
        (SAME_RFC_850, NOT_MODIFIED, PROCEED),
        (SAME_ASCTIME, NOT_MODIFIED, PROCEED),
        (LATER, NOT_MODIFIED, PROCEED),
        ("Fri, 31 Dec 9999 23:59:59 GMT", NOT_MODIFIED, PROCEED),
        (EARLIER, PROCEED, FAILED),
        ("Sun, 06 Nov 1994 08:49:37 GMT", PROCEED, FAILED),
        ("Sunday, 06-Nov-94 08:49:37 GMT", PROCEED, FAILED),  # 1994, not 2094
        ("Thu, 01 Jan 1970 00:00:00 GMT", PROCEED, FAILED),
        # Not a date, or more than one: ignored (§13.1.3, §13.1.4)
        ("", PROCEED, PROCEED),
        ("garbage", PROCEED, PROCEED),
        ("0", PROCEED, PROCEED),
        ("*", PROCEED, PROCEED),
        ('"etag"', PROCEED, PROCEED),
        (f"{LATER}, {LATER}", PROCEED, PROCEED),
        ("Sun, 31 Feb 2026 12:30:45 GMT", PROCEED, PROCEED),
    ],
)
def test_dates(value: str, if_modified: Verdict, if_unmodified: Verdict) -> None:  # R24
    assert evaluate("GET", {"if-modified-since": value}, STRONG) is if_modified
    assert evaluate("HEAD", {"if-modified-since": value}, STRONG) is if_modified
    assert evaluate("GET", {"if-unmodified-since": value}, STRONG) is if_unmodified
    assert evaluate("DELETE", {"if-unmodified-since": value}, STRONG) is if_unmodified


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "PUT", "POST"])
def test_if_modified_since_is_for_readers_only(method: str) -> None:  # R24
    assert evaluate(method, {"if-modified-since": LATER}, STRONG) is PROCEED


def test_dates_are_ignored_without_a_modification_date() -> None:
    undated = Validators('"etag"', None)
    assert evaluate("GET", {"if-modified-since": LATER}, undated) is PROCEED
    assert evaluate("GET", {"if-unmodified-since": EARLIER}, undated) is PROCEED


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "CONNECT"])
def test_methods_that_select_nothing_have_no_preconditions(method: str) -> None:  # §13.2.1
    assert evaluate(method, {"if-match": '"other"', "if-none-match": "*"}, STRONG) is PROCEED


ABSENT, TRUE, FALSE = "absent", "true", "false"
VALUES = {
    "if-match": {TRUE: '"etag"', FALSE: '"other"'},
    "if-unmodified-since": {TRUE: SAME, FALSE: EARLIER},
    "if-none-match": {TRUE: '"other"', FALSE: '"etag"'},
    "if-modified-since": {TRUE: EARLIER, FALSE: SAME},
}


def by_the_steps_of_the_rfc(
    method: str, match: str, unmodified: str, none_match: str, modified: str
) -> Verdict:
    if match == FALSE:  # step 1
        return FAILED
    if match == ABSENT and unmodified == FALSE:  # step 2
        return FAILED
    if none_match == FALSE:  # step 3
        return NOT_MODIFIED if method in {"GET", "HEAD"} else FAILED
    if none_match == ABSENT and modified == FALSE and method in {"GET", "HEAD"}:  # step 4
        return NOT_MODIFIED
    return PROCEED


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "DELETE"])
def test_all_81_combinations_follow_the_order_of_the_rfc(method: str) -> None:  # R24, R25, R26
    for states in product((ABSENT, TRUE, FALSE), repeat=4):
        fields = {
            name: VALUES[name][state] for name, state in zip(VALUES, states, strict=True) if state != ABSENT
        }
        assert evaluate(method, fields, STRONG) is by_the_steps_of_the_rfc(method, *states), fields


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        (None, True),
        ('"etag"', True),
        (' "etag"\t', True),
        ('W/"etag"', False),  # R19
        ('"other"', False),
        ('"etag", "other"', False),  # §13.1.5: one tag, not a list
        ("etag", False),
        ('"etag', False),
        ("*", False),
        ("", False),
        (SAME, True),  # R20
        (SAME_RFC_850, True),
        (SAME_ASCTIME, True),
        (LATER, False),
        (EARLIER, False),
        ("garbage", False),
        (f"{SAME}, {SAME}", False),
    ],
)
def test_if_range(value: str | None, holds: bool) -> None:
    assert if_range_holds(value, STRONG) == holds


def test_if_range_never_holds_for_what_is_weak_or_missing() -> None:
    assert not if_range_holds('W/"etag"', WEAK)
    assert not if_range_holds('"etag"', WEAK)
    assert not if_range_holds('"etag"', Validators(None, MODIFIED))
    assert not if_range_holds(SAME, Validators('"etag"', None))


# A slow and obvious model of lists: they are built from known tags.

any_text = st.text(st.characters())  # lone surrogates too
opaque_tags = st.text("abW/,*!~\\\xfc", max_size=4)
tags = st.tuples(st.booleans(), opaque_tags)


def printed(weak: bool, opaque: str) -> str:
    return f'W/"{opaque}"' if weak else f'"{opaque}"'


@given(st.lists(tags, max_size=5), tags, st.data())
def test_lists_match_as_their_members_do(
    listed: list[tuple[bool, str]], current: tuple[bool, str], data: st.DataObject
) -> None:
    commas = st.text(" \t,", max_size=3).map(lambda text: f" ,{text}")
    value = ""
    for number, tag in enumerate(listed):
        value += (data.draw(commas) if number else "") + printed(*tag)
    validators = Validators(printed(*current), None)

    weakly = any(opaque == current[1] for _, opaque in listed)
    strongly = any(tag == current for tag in listed) and not current[0]
    assert (evaluate("GET", {"if-none-match": value}, validators) is NOT_MODIFIED) == weakly
    assert (evaluate("GET", {"if-match": value}, validators) is PROCEED) == strongly


@given(
    st.dictionaries(st.sampled_from([*VALUES]), any_text | st.text('W/",* e')),
    st.sampled_from(["GET", "PATCH"]),
    any_text,
)
def test_any_text_is_weighed(fields: dict[str, str], method: str, if_range: str) -> None:
    for validators in (STRONG, WEAK, Validators(None, None)):
        evaluate(method, fields, validators)
        if_range_holds(if_range, validators)


@pytest.mark.parametrize(
    "value",
    [
        "," * 10**6,
        " " * 10**6 + "x",
        '"a",' * 250_000 + "x",
        'W/"' * 333_333,
        '" ' * 500_000,
        ", " * 500_000 + "x",
    ],
    ids=lambda value: f"{value[:8]}…",
)
def test_a_megabyte_of_almost_tags_matches_nothing(value: str) -> None:
    """Backtracking would run into the time limit of the test."""
    assert evaluate("GET", {"if-none-match": value, "if-modified-since": value}, STRONG) is PROCEED
    assert evaluate("GET", {"if-match": value}, STRONG) is FAILED
    assert not if_range_holds(value, STRONG)


@given(st.integers(-3, 3), st.integers(0, 999_999))
def test_fractions_of_a_second_do_not_count(seconds: int, microsecond: int) -> None:
    validators = Validators(None, MODIFIED.replace(microsecond=microsecond))
    value = format_http_date(MODIFIED + timedelta(seconds=seconds))
    assert (evaluate("GET", {"if-modified-since": value}, validators) is NOT_MODIFIED) == (seconds >= 0)
    assert (evaluate("GET", {"if-unmodified-since": value}, validators) is PROCEED) == (seconds >= 0)
    assert if_range_holds(value, validators) == (seconds == 0)


@pytest.mark.parametrize("after", [0, 1, 1.9, 2, 60, 10**9])
def test_last_modified_stays_the_same_while_time_passes(after: float) -> None:
    first = modified_by(MODIFIED, now=MODIFIED)
    assert modified_by(MODIFIED, now=MODIFIED + timedelta(seconds=after)) == first


@pytest.mark.parametrize("ahead", [-(10**9), -2, -1, 0, 0.5, 1, 10**9])
def test_last_modified_is_not_later_than_a_date_of_a_second_ago(ahead: float) -> None:  # §8.8.2.1
    now = MODIFIED + timedelta(seconds=7)
    assert modified_by(now + timedelta(seconds=ahead), now=now) <= now - timedelta(seconds=1)
