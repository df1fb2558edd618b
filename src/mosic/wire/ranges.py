"""From a Range field to the slices of a file that are sent for it (RFC 9110 §14).

Nothing else reads or prints Range and Content-Range.

What a client asks for (`IntRange`, `SuffixRange`) and what will be sent (`Slice`) are different types, joined
by `resolve`: only a slice is known to lie within the file. Time is linear in the length of the field.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

MAX_RANGES = 16
"""A set of more ranges than this is ignored (RFC 9110 §14.2 allows it, §17.15 says why)."""

MAX_FIELD_SIZE = 8192
"""A field of more characters than this is ignored."""

# No file is as long. Digits beyond this are not converted: int() is quadratic, and refuses 4,300 of them.
_FAR_DIGITS = 18
_FAR: int = 10**_FAR_DIGITS

# What nearly all clients send; a short cut past _parse_set, to the same result.
_SINGLE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{1,18})?")
_SPEC = re.compile(r"([0-9]*)-([0-9]*)")
_CONTENT_RANGE = re.compile(
    r"[ \t]*bytes[ \t]+(?:([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)|\*/([0-9]{1,18}))[ \t]*", re.IGNORECASE
)


# Not frozen, though nobody changes one: that takes three times as long, and each range that is sent needs it.
@dataclass(slots=True, unsafe_hash=True)
class Slice:
    """Bytes `start` up to, but not including, `stop` of a file; `0 <= start < stop <= size of the file`."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start

    def content_range(self, size: int) -> bytes:
        """The Content-Range value for this slice of a file of `size` bytes (§14.4): `bytes 0-4/100`."""
        return b"bytes %d-%d/%d" % (self.start, self.stop - 1, size)


@dataclass(slots=True, unsafe_hash=True)
class IntRange:
    """Asked: the bytes from position `first` through `last`, or through the end when `last` is None.

    As text it is a Range field for this range alone.
    """

    first: int
    last: int | None

    def __str__(self) -> str:
        return f"bytes={self.first}-{'' if self.last is None else self.last}"

    def within(self, size: int) -> Slice | None:
        """The part of a file of `size` bytes that this names, or None when there is none (§14.1.2)."""
        if self.first >= size:
            return None
        stop = size if self.last is None or self.last >= size else self.last + 1
        return Slice(self.first, stop)


@dataclass(frozen=True, slots=True)
class SuffixRange:
    """Asked: the last `length` bytes. As text it is a Range field for this range alone."""

    length: int

    def __str__(self) -> str:
        return f"bytes=-{self.length}"

    def within(self, size: int) -> Slice | None:
        """The part of a file of `size` bytes that this names, or None when there is none (§14.1.2)."""
        if self.length == 0 or size == 0:
            return None
        return Slice(max(size - self.length, 0), size)


AskedRange = IntRange | SuffixRange


@dataclass(frozen=True, slots=True)
class ContentRange:
    """A Content-Range that another has sent (§14.4), printed by `str()`: `bytes 0-4/100`, `bytes */100`."""

    part: Slice | None
    """Which bytes these are; None says that no range of the request lies within the file."""

    size: int | None
    """Of the whole; None when the sender does not say it, which only a `part` allows."""

    @property
    def is_whole(self) -> bool:
        """Whether the part is all there is."""
        return self.part is not None and self.part.size == self.size

    def __str__(self) -> str:
        positions = "*" if self.part is None else f"{self.part.start}-{self.part.stop - 1}"
        return f"bytes {positions}/{'*' if self.size is None else self.size}"


class Unsliced(Enum):
    """Why no slices are sent for a set of ranges."""

    WHOLE = "whole"
    """Send the whole file, as if no range had been asked for (200)."""

    UNSATISFIABLE = "unsatisfiable"
    """No range lies within the file (416)."""


def parse_range(value: str | None) -> tuple[AskedRange, ...] | None:
    """Read a Range field value; None says that the field is to be ignored.

    That is so when it is absent, names a unit other than bytes, does not follow the grammar of §14.1.1 (which
    includes `5-4`), holds more than `MAX_RANGES` ranges or more than `MAX_FIELD_SIZE` characters. Otherwise
    there is at least one range, in the order asked. Positions of 10^18 and more come out as 10^18.

    Whether the method is GET, the only one with ranges (§14.2), is for the caller to know.
    """
    if value is None:
        return None
    if single := _SINGLE.fullmatch(value):
        first_text, last_text = single.groups()
        first, last = int(first_text), int(last_text) if last_text else None
        return (IntRange(first, last),) if last is None or last >= first else None
    return _parse_set(value)


def parse_content_range(value: str) -> ContentRange | None:
    """Read a Content-Range field value; None when it does not follow the grammar of §14.4, or names what no
    file has (`5-4/9`, `0-9/5`)."""
    match = _CONTENT_RANGE.fullmatch(value)
    if match is None:
        return None
    first, last, size, unsatisfied_size = match.groups()
    if unsatisfied_size is not None:
        return ContentRange(None, int(unsatisfied_size))
    start, stop = int(first), int(last) + 1
    whole = None if size == "*" else int(size)
    if start >= stop or (whole is not None and stop > whole):
        return None
    return ContentRange(Slice(start, stop), whole)


def resolve(asked: tuple[AskedRange, ...], size: int) -> tuple[Slice, ...] | Unsliced:
    """Choose what to send of a file of `size` bytes; `asked` is what `parse_range` returned.

    Ranges outside of the file are dropped, those that overlap or touch are joined, and the slices keep the
    order of asking (a joined one stands where the first of its ranges stood). One slice may stand for
    several ranges. Several ranges that add up to the whole file or more (overlaps counted as often as they
    are asked for) get the whole; a single one never does, since players send `bytes=0-` and rely
    on a 206.
    """
    if size == 0:
        # A suffix of nothing is satisfiable (§14.1.2), but no Content-Range can say so.
        suffix = any(isinstance(member, SuffixRange) and member.length > 0 for member in asked)
        return Unsliced.WHOLE if suffix else Unsliced.UNSATISFIABLE
    if len(asked) == 1:
        only = asked[0].within(size)
        return Unsliced.UNSATISFIABLE if only is None else (only,)
    slices = tuple(found for member in asked if (found := member.within(size)) is not None)
    if not slices:
        return Unsliced.UNSATISFIABLE
    if sum(found.size for found in slices) >= size:
        return Unsliced.WHOLE
    return _joined(slices)


def _parse_set(value: str) -> tuple[AskedRange, ...] | None:
    if len(value) > MAX_FIELD_SIZE:
        return None
    unit, equals, members = value.strip(" \t").partition("=")
    if not equals or unit.lower() != "bytes":
        return None
    asked: list[AskedRange] = []
    for member in members.split(","):
        spec = member.strip(" \t")
        if not spec:
            continue  # §5.6.1.2: empty members are to be accepted
        member_range = _parse_spec(spec)
        if member_range is None or len(asked) == MAX_RANGES:
            return None
        asked.append(member_range)
    return tuple(asked) or None


def _parse_spec(spec: str) -> AskedRange | None:
    match = _SPEC.fullmatch(spec)
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        return SuffixRange(_number(last)) if last else None
    if not last:
        return IntRange(_number(first), None)
    width = max(len(first), len(last))
    if last.zfill(width) < first.zfill(width):  # as text: beyond 10^18 all numbers are the same here
        return None
    return IntRange(_number(first), _number(last))


def _number(digits: str) -> int:
    if len(digits) > _FAR_DIGITS:
        digits = digits.lstrip("0") or "0"
        if len(digits) > _FAR_DIGITS:
            return _FAR
    return int(digits)


def _joined(slices: tuple[Slice, ...]) -> tuple[Slice, ...]:
    groups: list[tuple[int, Slice]] = []
    for place, piece in sorted(enumerate(slices), key=lambda entry: entry[1].start):
        if groups and piece.start <= groups[-1][1].stop:
            first_place, joined = groups[-1]
            groups[-1] = (min(place, first_place), Slice(joined.start, max(joined.stop, piece.stop)))
        else:
            groups.append((place, piece))
    return tuple(joined for _, joined in sorted(groups, key=lambda group: group[0]))
