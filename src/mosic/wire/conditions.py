"""Preconditions of a request against the validators of what it asks for (RFC 9110 §13).

A value that does not follow its grammar never raises: as a list of entity tags it matches nothing, as a date
it is ignored (If-Range: does not hold).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from mosic.wire.dates import parse_http_date

# §8.8.3. A value that does not match must not be tried in other ways: runs of characters are possessive, and
# no alternative begins like another. Groups are not: Python 3.11.0 to 3.11.4 misread that (gh-101955).
_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"'
_TAG_LIST = re.compile(rf"[ \t]*+(?:{_TAG})?[ \t]*+(?:,[ \t]*+(?:{_TAG})?[ \t]*+)*")
_TAGS = re.compile(r'(W/)?"([^"]*+)"')


# How old the Date of an answer may be: uvicorn renews it once a second, later when the loop is busy.
_DATE_AGE = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Validators:
    """The validators of the current representation.

    `etag` is the ETag value as sent, with its quotes (and `W/` when weak). `last_modified` has a time zone;
    fractions of a second do not count, as the Last-Modified field has none. It must be a strong validator
    (§8.8.2.2): the representation never changes twice within a second, as is true of bytes that never change.
    """

    etag: str | None
    last_modified: datetime | None


class Verdict(Enum):
    PROCEED = "proceed"
    NOT_MODIFIED = "not-modified"
    """Answer 304."""

    PRECONDITION_FAILED = "precondition-failed"
    """Answer 412, and do nothing."""


def evaluate(method: str, fields: Mapping[str, str], validators: Validators) -> Verdict:
    """Weigh If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since, in the order of §13.2.2.

    To be called when the request would otherwise succeed (§13.2.1), so there is a current representation for
    `*` to match. `fields` has lower-case names, and repeated lines joined by `, `. If-Range comes after this,
    with `if_range_holds`.
    """
    if_match = fields.get("if-match")
    if_unmodified_since = fields.get("if-unmodified-since")
    if_none_match = fields.get("if-none-match")
    if_modified_since = fields.get("if-modified-since")
    if method in ("OPTIONS", "TRACE", "CONNECT"):  # they select no representation (§13.2.1)
        return Verdict.PROCEED

    if if_match is not None:
        if not _matches(if_match, validators.etag, strong=True):
            return Verdict.PRECONDITION_FAILED
    elif if_unmodified_since is not None and _unmodified_since(if_unmodified_since, validators) is False:
        return Verdict.PRECONDITION_FAILED

    reading = method in ("GET", "HEAD")
    if if_none_match is not None:
        if _matches(if_none_match, validators.etag, strong=False):
            return Verdict.NOT_MODIFIED if reading else Verdict.PRECONDITION_FAILED
    elif if_modified_since is not None and reading and _unmodified_since(if_modified_since, validators):
        return Verdict.NOT_MODIFIED
    return Verdict.PROCEED


def modified_by(there_at: datetime, *, now: datetime) -> datetime:
    """What to give as Last-Modified of bytes that were there at `there_at` and have not changed since.

    It is never later than the Date beside it (§8.8.2.1), also when the clock that told `there_at` goes ahead
    of the one that tells `now`; and it stays the same, as a strong validator must.
    """
    return min(there_at, now) - _DATE_AGE


def if_range_holds(value: str | None, validators: Validators) -> bool:
    """Whether a Range field may be honoured, by the If-Range value beside it (§13.1.5); without one it may.

    The comparison is strong: a weak tag on either side never holds, and a date must be that of Last-Modified,
    to the second.
    """
    if value is None:
        return True
    value = value.strip(" \t")
    if '"' in value[:3]:
        return value == validators.etag and not value.startswith("W/")
    modified = _last_modified(validators)
    return modified is not None and parse_http_date(value, now=modified) == modified


def _matches(value: str, etag: str | None, *, strong: bool) -> bool:
    value = value.strip(" \t")
    if value == "*":
        return True
    if etag is None or (strong and etag.startswith("W/")):
        return False
    if value == etag:
        return True
    if _TAG_LIST.fullmatch(value) is None:
        return False
    opaque = etag.removeprefix("W/")[1:-1]
    return any(tag == opaque and not (strong and weak) for weak, tag in _TAGS.findall(value))


def _unmodified_since(value: str, validators: Validators) -> bool | None:
    """None: there is no modification date, or no date in `value`, and the field is to be ignored."""
    modified = _last_modified(validators)
    if modified is None:
        return None
    # There is no clock here. Last-Modified is not later than now, so at worst a two-digit year that means a
    # time more than 50 years after it is read a century too early: an answer is sent, or a change refused.
    since = parse_http_date(value.strip(" \t"), now=modified)
    return None if since is None else modified <= since


def _last_modified(validators: Validators) -> datetime | None:
    modified = validators.last_modified
    return None if modified is None else modified.replace(microsecond=0)
