"""A GET or HEAD for bytes, read once: behind this nothing reads its header fields again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from mosic.wire.conditions import PRECONDITIONS, Preconditions, read_preconditions
from mosic.wire.ranges import AskedRange, parse_range

RETRIEVAL_FIELDS = frozenset((*PRECONDITIONS, "range"))
"""Lower-case names of the fields that can change the response (RFC 9110 §13.1, §14.2)."""


@dataclass(slots=True)
class Retrieval:
    """What a request asks for, and on which conditions."""

    method: str
    ranges: tuple[AskedRange, ...] | None = None
    """None: the whole. A HEAD has no ranges (§14.2)."""

    preconditions: Preconditions | None = None
    """None: the request has none."""

    range_sent: str | None = None
    """The Range field as it came: only to be compared, by those who pass the request on."""


def read_retrieval(method: str, fields: Mapping[str, str], now: Callable[[], datetime]) -> Retrieval:
    """`fields` by lower-case names, lines of one name joined. `now` is called for dates only: see
    `read_preconditions`."""
    range_sent = fields.get("range")
    ranges = parse_range(range_sent) if range_sent is not None and method == "GET" else None
    return Retrieval(method, ranges, read_preconditions(fields, now), range_sent)
