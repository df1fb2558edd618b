"""Preconditions of a request: how they are read, and weighed against the validators (RFC 9110 §13).

A value that does not follow its grammar never raises: as a list of entity tags it matches nothing, as a date
it is ignored (If-Range: does not hold).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from mosic.wire.dates import parse_http_date

# §8.8.3. A value that does not match must not be tried in other ways: runs of characters are possessive, and
# no alternative begins like another. Groups are not: Python 3.11.0 to 3.11.4 misread that (gh-101955).
_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"'
_TAG_LIST = re.compile(rf"[ \t]*+(?:{_TAG})?[ \t]*+(?:,[ \t]*+(?:{_TAG})?[ \t]*+)*")
_TAGS = re.compile(r'(W/)?"([^"]*+)"')


PRECONDITIONS = ("if-match", "if-unmodified-since", "if-none-match", "if-modified-since", "if-range")
"""The fields of §13.1, in lower case."""

_NAMES = frozenset(PRECONDITIONS)

# How old the Date of a response may be: uvicorn renews it once a second, later when the loop is busy.
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
    """Respond with 304."""

    PRECONDITION_FAILED = "precondition-failed"
    """Respond with 412, and do nothing."""


@dataclass(frozen=True, slots=True)
class EntityTags:
    """Those that If-Match or If-None-Match lists, without quotes; none when the list breaks the grammar."""

    any: bool
    """The field is `*`."""

    strong: frozenset[str] = frozenset()
    weak: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Preconditions:
    """The preconditions of one request (§13.1). None: the field is absent, or a date that cannot be read."""

    if_match: EntityTags | None
    if_unmodified_since: datetime | None
    if_none_match: EntityTags | None
    if_modified_since: datetime | None
    if_range: str | datetime | None
    """An entity tag as sent, with its quotes, or a date; "" when it is neither."""

    sent: Mapping[str, str]
    """The fields as they came, by lower-case names: only to be passed on, to a server that reads them."""


def read_preconditions(fields: Mapping[str, str], now: Callable[[], datetime]) -> Preconditions | None:
    """None when the request has no precondition. `fields` has lower-case names, and repeated lines joined by
    `, `; other fields in it do not count.

    `now` settles the century of dates with a two-digit year, and is called for dates only.
    """
    if _NAMES.isdisjoint(fields):
        return None
    sent = {name: fields[name] for name in PRECONDITIONS if name in fields}

    def date(name: str) -> datetime | None:
        value = sent.get(name)
        return None if value is None else parse_http_date(value.strip(" \t"), now=now())

    return Preconditions(
        if_match=_entity_tags(sent.get("if-match")),
        # Ignored beside the tags (§13.1.3, §13.1.4), readable or not.
        if_unmodified_since=None if "if-match" in sent else date("if-unmodified-since"),
        if_none_match=_entity_tags(sent.get("if-none-match")),
        if_modified_since=None if "if-none-match" in sent else date("if-modified-since"),
        if_range=_if_range(sent.get("if-range"), now),
        sent=sent,
    )


def evaluate(method: str, preconditions: Preconditions | None, validators: Validators) -> Verdict:
    """Weigh If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since, in the order of §13.2.2.

    To be called when the request would otherwise succeed (§13.2.1), so there is a current representation for
    `*` to match. If-Range comes after this, with `if_range_holds`.
    """
    if preconditions is None or method in ("OPTIONS", "TRACE", "CONNECT"):
        return Verdict.PROCEED  # those methods select no representation (§13.2.1)
    modified = _last_modified(validators)
    if preconditions.if_match is not None:
        if not _matches(preconditions.if_match, validators.etag, strong=True):
            return Verdict.PRECONDITION_FAILED
    elif _is_later(modified, preconditions.if_unmodified_since):
        return Verdict.PRECONDITION_FAILED

    reading = method in ("GET", "HEAD")
    if preconditions.if_none_match is not None:
        if _matches(preconditions.if_none_match, validators.etag, strong=False):
            return Verdict.NOT_MODIFIED if reading else Verdict.PRECONDITION_FAILED
    elif reading and _is_later(modified, preconditions.if_modified_since) is False:
        return Verdict.NOT_MODIFIED
    return Verdict.PROCEED


def modified_by(there_at: datetime, *, now: datetime) -> datetime:
    """What to give as Last-Modified of bytes that were there at `there_at` and have not changed since.

    It is never later than the Date beside it (§8.8.2.1), also when the clock of `there_at` is ahead of that
    of `now`; and it stays the same, as a strong validator must.
    """
    return min(there_at, now) - _DATE_AGE


def if_range_holds(preconditions: Preconditions | None, validators: Validators) -> bool:
    """Whether a Range field may be honoured, by the If-Range beside it (§13.1.5); without one it may.

    The comparison is strong: a weak tag on either side never holds, and a date must be that of Last-Modified,
    to the second.
    """
    condition = None if preconditions is None else preconditions.if_range
    if condition is None:
        return True
    if isinstance(condition, str):
        return condition == validators.etag and not condition.startswith("W/")
    return condition == _last_modified(validators)


def _if_range(value: str | None, now: Callable[[], datetime]) -> str | datetime | None:
    if value is None:
        return None
    value = value.strip(" \t")
    return value if '"' in value[:3] else parse_http_date(value, now=now()) or ""


def _entity_tags(value: str | None) -> EntityTags | None:
    if value is None:
        return None
    value = value.strip(" \t")
    if value == "*":
        return EntityTags(any=True)
    if _TAG_LIST.fullmatch(value) is None:
        return EntityTags(any=False)
    found = _TAGS.findall(value)
    return EntityTags(
        any=False,
        strong=frozenset(tag for weak, tag in found if not weak),
        weak=frozenset(tag for weak, tag in found if weak),
    )


def _matches(tags: EntityTags, etag: str | None, *, strong: bool) -> bool:
    if tags.any:
        return True
    if etag is None or (strong and etag.startswith("W/")):
        return False
    opaque = etag.removeprefix("W/")[1:-1]
    return opaque in tags.strong or (not strong and opaque in tags.weak)


def _is_later(modified: datetime | None, date: datetime | None) -> bool | None:
    """Whether it was modified after `date`; None when there is no telling, and the field is ignored."""
    return None if modified is None or date is None else modified > date


def _last_modified(validators: Validators) -> datetime | None:
    modified = validators.last_modified
    return None if modified is None else modified.replace(microsecond=0)
