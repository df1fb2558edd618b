"""The lines of RFC 9110 §13–§15 that concern a stream, as requests and the answers they must get.

The same table is asked of the service itself and of the service behind a proxy.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from tests.support.exchange import Answer
from tests.support.sounds import wav

CONTENT = wav(0.5)
SIZE = len(CONTENT)
FILE_NAME = 'Nöe "1".wav'
DISPOSITION = "inline; filename=\"Noe _1_.wav\"; filename*=UTF-8''N%C3%B6e%20%221%22.wav"


@dataclass(frozen=True)
class Expected:
    """`spans` (first and last positions): None says all of it, several say multipart/byteranges.

    `lean` is the answer to a client that has the rest of the fields already, as its If-Range says.
    """

    status: int
    spans: tuple[tuple[int, int], ...] | None = None
    code: str | None = None
    lean: bool = False


def part(first: int, last: int, *, lean: bool = False) -> Expected:
    return Expected(206, ((first, last),), lean=lean)


def parts(*spans: tuple[int, int], lean: bool = False) -> Expected:
    return Expected(206, spans, lean=lean)


WHOLE = Expected(200)
TO_THE_END = part(0, SIZE - 1)
FIRST_FIVE = part(0, 4)
UNCHANGED = Expected(304)
FAILED = Expected(412, code="precondition-failed")
OUTSIDE = Expected(416, code="range-not-satisfiable")


@dataclass(frozen=True)
class Row:
    """`rule` is the section of RFC 9110 that asks for it. `lines` go out as they are, but for {tag}, {date},
    {before} and {after} (the date ± a second)."""

    rule: str
    lines: tuple[str, ...]
    expected: Expected
    method: str = "GET"

    def __str__(self) -> str:
        text = f"{self.rule} {self.method} {' | '.join(self.lines)}"
        return text if len(text) <= 90 else f"{text[:90]}..."


def _rows(rule: str, expected: Expected, *requests: str | tuple[str, ...], method: str = "GET") -> list[Row]:
    asked = [(one,) if isinstance(one, str) else one for one in requests]
    return [Row(rule, lines, expected, method) for lines in asked]


def _range(rule: str, expected: Expected, *values: str) -> list[Row]:
    return _rows(rule, expected, *(f"Range: {value}" for value in values))


def _if_range(rule: str, expected: Expected, *values: str, asked: str = "bytes=1-4") -> list[Row]:
    return _rows(rule, expected, *((f"Range: {asked}", f"If-Range: {value}") for value in values))


_N = SIZE
_FAR = "9" * 26
_17_TIMES = ",".join(["0-"] * 17)
_EVERY_SECOND = [(2 * i, 2 * i) for i in range(1000)]
_FIRST = "Range: bytes=0-4"
_BEYOND = f"Range: bytes={_N}-"


def _spec(spans: list[tuple[int, int]]) -> str:
    return "bytes=" + ",".join(f"{first}-{last}" for first, last in spans)


# fmt: off
ROWS = [
    *_rows("9.3.1", WHOLE, ()),
    *_rows("14.2", WHOLE, _FIRST, _BEYOND, (_FIRST, "If-Range: {tag}"), method="HEAD"),
    *_range("14.2", WHOLE, "seconds=1-2", "bytes2=0-4", "none", "octets=0-4"),
    *_range("14.1", FIRST_FIVE, "BYTES=0-4", "bYtEs=0-4"),
    *_range("14.1.2", TO_THE_END, "bytes=0-", "bytes=0-99999", f"bytes=0-{_N}", f"bytes=0-{_N - 1}"),
    *_range("14.1.2", part(_N - 2, _N - 1), f"bytes={_N - 2}-", f"bytes={_N - 2}-{_N + 7}", "bytes=-2"),
    *_range("14.1.2", TO_THE_END, "bytes=-99999", f"bytes=-{_N}", f"bytes=-{_N + 1}"),
    *_range("14.1.2", OUTSIDE, "bytes=-0", "bytes=-000"),
    *_range("14.1.2", TO_THE_END,
        f"bytes=0-{_FAR}", f"bytes=-{_FAR}", f"bytes=-{2**64 + 1}", f"bytes=0-{2**64}"),
    *_range("14.1.2", OUTSIDE,
        f"bytes={_FAR}-", f"bytes={_FAR}-{_FAR}9", f"bytes={2**64}-", f"bytes={2**63}-"),
    *_range("14.1.2", FIRST_FIVE, f"bytes={'0' * 40}-{'0' * 40}4"),
    *_range("14.2", part(0, 1), "bytes=0-1"),
    *_range("14.2", part(0, 0), "bytes=0-0"),
    *_range("14.2", part(_N - 1, _N - 1), f"bytes={_N - 1}-{_N - 1}", "bytes=-1"),
    *_range("14.2", FIRST_FIVE, "bytes=0-4", "bytes= 0-4", "bytes=0-4 ", "\tbytes=0-4\t", "bytes=,0-4, ,"),
    *_range("14.2", part(3, 4), f"bytes=3-4,{_N}-", f"bytes={_N}-{_N + 9}, 3-4", "bytes=-0,3-4"),
    *_range("15.5.17", OUTSIDE, f"bytes={_N}-", f"bytes={_N}-{_N}", f"bytes={_N}-,-0,99999-"),
    # A set that does not follow the grammar, or is abusive, is ignored.
    *_range("14.2", WHOLE,
        "bytes=5-4", "bytes=0-4,5-4", "bytes=", "bytes", "0-4", "bytes=a-b", "bytes=0-4-8"),
    *_range("14.2", WHOLE,
        "bytes=--1", "bytes=-", "bytes=+0-4", "bytes=1_0-20", "bytes=0x0-4", "bytes=0 - 4"),
    *_range("14.2", WHOLE, "bytes =0-4", "bytes:0-4", 'bytes="0-4"', "bytes=0.0-4", "bytes=0-4;1"),
    *_range("14.2", WHOLE, "bytes=\xd9\xa0-\xd9\xa4", "bytes=\xb2-4", "bytes=0-4\x80", "=", ",", "bytes=,"),
    *_range("14.2", WHOLE,
        "", "bytes=*/4", f"bytes={_17_TIMES}", "bytes=" + "0-," * 5000, "bytes=" + "1" * 30000),
    *_range("14.2", WHOLE, _spec(_EVERY_SECOND), _spec(_EVERY_SECOND[:17]), _spec(_EVERY_SECOND[16::-1])),
    *_range("14.2", WHOLE, "bytes=0-,0-", "bytes=0-4,1-", f"bytes=0-{_N // 2},{_N // 2}-"),
    *_rows("14.2", WHOLE, (_FIRST, _FIRST), (_FIRST, "Range: x")),
    *_range("15.3.7.2", part(0, 14),
        "bytes=0-4,5-14", "bytes=10-14,0-9", "bytes=0-9,3-14", "bytes=5-14,0-4,2-3"),
    *_range("15.3.7.2", parts((0, 0), (_N - 1, _N - 1)),
        "bytes=0-0,-1", "bytes=0-0 , -1", f"bytes=0-0,{_N}-,-1"),
    *_range("15.3.7.2", parts((10, 14), (0, 4)), "bytes=10-14,0-4"),
    *_range("15.3.7.2", parts((20, 29), (0, 4), (7, 7)),
        "bytes=20-24,0-4,7-7,25-29", "bytes=22-29,0-4,7-7,20-26"),
    *_range("15.3.7.2", parts(*_EVERY_SECOND[:16]), _spec(_EVERY_SECOND[:16])),
    *_rows("15.3.7.2", parts((10, 14), (0, 4)), ("Range: bytes=10-14", "Range: 0-4")),
    *_rows("13.1.5", WHOLE, "If-Range: {tag}", 'If-Range: "x"', "If-Range: {date}"),
    *_if_range("13.1.5", WHOLE, "{tag}", asked="seconds=1-2"),
    *_if_range("15.3.7", part(1, 4, lean=True), "{tag}", " {tag} "),
    *_if_range("15.3.7", parts((1, 4), (8, 9), lean=True), "{tag}", asked="bytes=1-4,8-9"),
    *_if_range("13.1.5", WHOLE, '"x"', "garbage", "", "*", '"', '"x", {tag}', "{tag}, {tag}"),
    *_if_range("13.1.5", WHOLE, '"x"', "{after}", asked=f"bytes={_N}-"),
    *_if_range("13.1.5", OUTSIDE, "{tag}", asked=f"bytes={_N}-"),
    *_rows("13.1.5", WHOLE, (_FIRST, "If-Range: {tag}", "If-Range: {tag}")),
    *_if_range("13.1.5", WHOLE, "W/{tag}"),
    *_if_range("13.1.5", part(1, 4, lean=True), "{date}"),
    *_if_range("13.1.5", WHOLE, "{after}", "{before}"),
    *_rows("13.1.2", UNCHANGED, "If-None-Match: {tag}", "If-None-Match: W/{tag}", "If-None-Match: *"),
    *_rows("13.1.2", UNCHANGED, 'If-None-Match: "a", W/{tag}', 'If-None-Match: ,, "b,c" ,{tag},'),
    *_rows("13.1.2", UNCHANGED, ('If-None-Match: "a"', "If-None-Match: {tag}")),
    *_rows("13.1.2", UNCHANGED, "If-None-Match: {tag}", 'If-None-Match: "a", W/{tag}', method="HEAD"),
    *_rows("13.1.2", WHOLE, 'If-None-Match: "a"', 'If-None-Match: W/"a", "b"', "If-None-Match: x"),
    *_rows("13.1.2", WHOLE, "If-None-Match:"),
    *_rows("13.1.1", WHOLE, "If-Match: {tag}", "If-Match: *", 'If-Match: "a", {tag}'),
    *_rows("13.1.1", WHOLE, ('If-Match: "a"', "If-Match: {tag}")),
    *_rows("13.1.1", FAILED, 'If-Match: "a"', "If-Match: W/{tag}", 'If-Match: W/{tag}, "a"', "If-Match: x"),
    *_rows("13.1.1", FAILED, 'If-Match: "a"', "If-Match: W/{tag}", method="HEAD"),
    *_rows("13.1.3", UNCHANGED, "If-Modified-Since: {date}", "If-Modified-Since: {after}"),
    *_rows("13.1.3", UNCHANGED, ("If-None-Match: {tag}", "If-Modified-Since: {before}")),
    *_rows("13.1.3", WHOLE,
        "If-Modified-Since: {before}", "If-Modified-Since: yesterday", "If-Modified-Since:"),
    *_rows("13.1.3", WHOLE, ('If-None-Match: "a"', "If-Modified-Since: {date}")),
    *_rows("13.1.3", WHOLE, ("If-Modified-Since: {date}", "If-Modified-Since: {date}")),
    *_rows("13.1.4", FAILED, "If-Unmodified-Since: {before}"),
    *_rows("13.1.4", WHOLE, "If-Unmodified-Since: {date}", "If-Unmodified-Since: {after}"),
    *_rows("13.1.4", WHOLE, "If-Unmodified-Since: yesterday"),
    *_rows("13.1.4", WHOLE, ("If-Match: {tag}", "If-Unmodified-Since: {before}")),
    *_rows("13.1.4", FAILED, ('If-Match: "a"', "If-Unmodified-Since: {after}")),
    *_rows("13.2.2", FAILED, ('If-Match: "a"', "If-None-Match: {tag}")),
    *_rows("13.2.2", FAILED, ("If-Unmodified-Since: {before}", "If-None-Match: {tag}")),
    *_rows("13.2.2", FAILED, ('If-Match: "a"', _FIRST, "If-Range: {tag}"), ('If-Match: "a"', _BEYOND)),
    *_rows("13.2.2", UNCHANGED, ("If-None-Match: {tag}", _FIRST), ("If-Modified-Since: {date}", _FIRST)),
    *_rows("13.2.2", UNCHANGED, ("If-None-Match: {tag}", _BEYOND), ("If-Match: {tag}", "If-None-Match: *")),
    *_rows("13.2.2", FIRST_FIVE, ("If-Match: {tag}", _FIRST), ('If-None-Match: "a"', _FIRST)),
    *_rows("13.2.2", FIRST_FIVE, ("If-Unmodified-Since: {date}", _FIRST)),
    *_rows("13.2.2", FIRST_FIVE, ("If-Modified-Since: {before}", _FIRST)),
    *_rows("13.2.2", WHOLE, ("If-Match: {tag}", _FIRST, 'If-Range: "x"')),
    *_rows("13.2.2", OUTSIDE, ("If-Match: {tag}", _BEYOND)),
    *_rows("9.3.2", WHOLE, (), method="HEAD"),
    *_rows("14.4", WHOLE, "Content-Range: bytes 0-4/10", "Content-Range: garbage"),
    *_rows("14.4", FIRST_FIVE, ("Content-Range: bytes 5-9/10", _FIRST)),
    *_rows("14.1.2", WHOLE,
        "Accept-Encoding: gzip", "Accept-Encoding: identity;q=0", "Accept-Encoding: gzip, br, zstd"),
    *_rows("14.1.2", FIRST_FIVE,
        ("Accept-Encoding: gzip", _FIRST), ("Accept-Encoding: br;q=1, *;q=0", _FIRST)),
]
# fmt: on


@dataclass(frozen=True)
class Validity:
    """The validators of the clip, for the requests that name them."""

    tag: str
    date: str

    def fill(self, lines: tuple[str, ...]) -> list[str]:
        moment = parsedate_to_datetime(self.date)
        step = timedelta(seconds=1)
        values = {
            "tag": self.tag,
            "date": self.date,
            "before": format_datetime(moment - step, usegmt=True),
            "after": format_datetime(moment + step, usegmt=True),
        }
        return [re.sub(r"\{(\w+)\}", lambda name: values[name[1]], line) for line in lines]


# status, fields, and the body: bytes, (Content-Range, bytes) of each part, or the code of a problem
Outcome = tuple[int, dict[str, str], Any]


def expected(row: Row, validity: Validity) -> Outcome:
    """The exact status, the exact set of fields about the clip, the exact bytes."""
    want = row.expected
    problem = {"content-type": "application/problem+json", "x-content-type-options": "nosniff"}
    if want.status == 412:
        return 412, problem, "" if row.method == "HEAD" else want.code
    if want.status == 416:
        fields = {"content-range": f"bytes */{SIZE}", "accept-ranges": "bytes"}
        return 416, fields | problem, want.code
    # What every answer about the clip says, 304 too (§15.3.7, §15.4.5).
    fields = {"etag": validity.tag, "cache-control": "no-cache", "accept-ranges": "bytes"}
    if want.status == 304:
        return 304, fields, b""
    fields |= {"content-disposition": DISPOSITION, "x-content-type-options": "nosniff"}
    fields |= {"content-type": "audio/wav"}
    if not want.lean:  # §15.3.7; a Content-Type goes with all content nevertheless (§8.3)
        fields |= {"last-modified": validity.date}
    if want.spans is None:
        return 200, fields | {"content-length": str(SIZE)}, b"" if row.method == "HEAD" else CONTENT
    pieces = [(f"bytes {a}-{b}/{SIZE}", CONTENT[a : b + 1]) for a, b in want.spans]
    if len(pieces) > 1:
        return 206, fields | {"content-type": "multipart/byteranges"}, pieces
    ((content_range, content),) = pieces
    return 206, fields | {"content-range": content_range, "content-length": str(len(content))}, content


def observed(answer: Answer, transport: frozenset[str]) -> Outcome:
    """`transport` names the fields that belong to the connection and the message, not to the clip."""
    fields = {name: value for name, value in answer.fields.items() if name not in transport}
    kind = fields.get("content-type", "")
    body: Any = answer.body
    if kind.startswith("multipart/byteranges"):
        fields["content-type"] = "multipart/byteranges"
        del fields["content-length"]  # `exchange` has compared it
        body = _parts(kind, answer.body)
    elif kind == "application/problem+json":
        assert fields.pop("content-length")
        body = json.loads(answer.body)["code"] if answer.body else ""
    return answer.status, fields, body


def _parts(kind: str, body: bytes) -> list[tuple[str, bytes]]:
    """The parts of a multipart/byteranges body (§14.6, RFC 2046 §5.1), each with a type of its own."""
    match = re.fullmatch(r"multipart/byteranges; boundary=([0-9A-Za-z]{1,70})", kind)
    assert match, kind
    opening, *pieces, closing = (b"\r\n" + body).split(b"\r\n--" + match[1].encode())
    assert opening in (b"", b"\r\n")  # nginx begins with an empty line, a preamble (RFC 2046 §5.1.1)
    assert closing == b"--\r\n"
    found = []
    for piece in pieces:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        content_range = fields.pop("Content-Range")
        assert fields == {"Content-Type": "audio/wav"}
        found.append((content_range, content))
    return found
