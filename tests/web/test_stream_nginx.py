"""A stream compared with nginx, which sends the same file from the same folder: what differs, and why.

The rows are those of tests/support/rfc9110.py. Where the two differ, the difference is listed with its
reason; a row that is not listed must be answered by both with the same status, fields and bytes.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import pytest

from mosic.postgres import EmbeddedPostgres
from tests.support.clips import ServedClip, add_clip
from tests.support.databases import empty_database
from tests.support.exchange import Answer, exchange, head
from tests.support.nginx import needs_nginx, running_nginx
from tests.support.ports import free_port
from tests.support.rfc9110 import DISPOSITION, ROWS, SIZE, Outcome, Row, Validity, observed
from tests.support.service import running_service

pytestmark = needs_nginx

ESCAPED = "\\'"
OUTSIDE = (416, f"bytes */{SIZE}")
FIRST_FIVE = (206, f"bytes 0-4/{SIZE}")


@dataclass(frozen=True)
class Difference:
    """`nginx` is its status and Content-Range. A row that ends in `...` stands for all that begin so."""

    why: str
    nginx: tuple[int, str | None]
    rows: tuple[str, ...]

    def covers(self, row: Row) -> bool:
        text = f"{row.method} {' | '.join(row.lines)}"
        return any(text.startswith(one[:-3]) if one.endswith("...") else text == one for one in self.rows)


def ranges(*values: str) -> tuple[str, ...]:
    return tuple(f"GET Range: {value}" for value in values)


DIFFERENCES = [
    Difference(
        "§14.2 defines Range for GET only; nginx heeds it in a HEAD as well.",
        FIRST_FIVE,
        ("HEAD Range: bytes=0-4", "HEAD Range: bytes=0-4 | If-Range: {tag}"),
    ),
    Difference("The same, with a range beyond the end.", OUTSIDE, (f"HEAD Range: bytes={SIZE}-",)),
    Difference(
        "§14.1.2: a last position beyond the end means the end, and a recipient must not let large numerals "
        "overflow; nginx refuses numbers that its integers cannot hold.",
        OUTSIDE,
        ranges(
            "bytes=0-9999999999...", "bytes=-9999999999...", "bytes=-1844674407...", "bytes=0-1844674407..."
        ),
    ),
    Difference(
        "§5.5 takes tabs off both ends of a value; nginx takes spaces only, and then knows no such unit.",
        (200, None),
        ranges("\tbytes=0-4\t"),
    ),
    Difference(
        "§5.6.1.2: a recipient must accept empty members of a list; nginx refuses them.",
        OUTSIDE,
        ranges("bytes=,0-4, ,"),
    ),
    Difference(
        "§14.2: an invalid set may be ignored or refused, and 416 is for one that is valid. Ignoring is also "
        "what old servers do; nginx answers 416.",
        OUTSIDE,
        ranges(
            *("bytes=5-4", "bytes=a-b", "bytes=0-4-8", "bytes=--1", "bytes=-", "bytes=+0-4", "bytes=1_0-20"),
            *("bytes=0x0-4", 'bytes="0-4"', "bytes=0.0-4", "bytes=0-4;1", "bytes=*/4", "bytes=,"),
            *("bytes=\xd9\xa0-\xd9\xa4", "bytes=\xb2-4", "bytes=0-4\x80"),
        ),
    ),
    Difference(
        "§14.1.1: `5-4` and `0 - 4` make the whole set invalid; nginx drops the one and reads the other.",
        FIRST_FIVE,
        ranges("bytes=0-4,5-4", "bytes=0 - 4"),
    ),
    Difference(
        "§5.3: several lines are one list, which here is an invalid one; nginx takes the first line alone.",
        FIRST_FIVE,
        ranges("bytes=0-4 | Range: bytes=0-4", "bytes=0-4 | Range: x"),
    ),
    Difference(
        "The same, where the list is a good one.",
        (206, f"bytes 10-14/{SIZE}"),
        ranges("bytes=10-14 | Range: 0-4"),
    ),
    Difference(
        "nginx accepts lines of 8 KiB at most (large_client_header_buffers).",
        (400, None),
        ranges("bytes=0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-...", "bytes=11111...")
        + ranges("bytes=" + ",".join(f"{2 * i}-{2 * i}" for i in range(500)) + "..."),
    ),
    Difference(
        "§14.2 lets many small ranges be ignored, and §15.3.7.2 lets those that touch or overlap be joined; "
        "nginx does neither unless told to (max_ranges).",
        (206, None),
        ranges(
            *("bytes=0-4,5-14", "bytes=10-14,0-9", "bytes=0-9,3-14", "bytes=5-14,0-4,2-3"),
            *("bytes=20-24,0-4,7-7,25-29", "bytes=22-29,0-4,7-7,20-26"),
            "bytes=" + ",".join(f"{2 * i}-{2 * i}" for i in range(17)),
            "bytes=" + ",".join(f"{2 * i}-{2 * i}" for i in reversed(range(17))),
        ),
    ),
    Difference(
        "§5.3: a list may come in several lines, and a second line of any other field makes its value an "
        "invalid one; nginx refuses the request.",
        (400, None),
        (
            "GET Range: bytes=0-4 | If-Range: {tag} | If-Range: {tag}",
            'GET If-None-Match: "a" | If-None-Match: {tag}',
            'GET If-Match: "a" | If-Match: {tag}',
            "GET If-Modified-Since: {date} | If-Modified-Since: {date}",
        ),
    ),
    Difference(
        "§13.1.3: a date later than Last-Modified also says «not modified»; nginx wants it equal "
        "(if_modified_since before).",
        (200, None),
        ("GET If-Modified-Since: {after}",),
    ),
    Difference(
        "§13.1.3: If-Modified-Since must be ignored beside If-None-Match; nginx weighs both.",
        (200, None),
        ("GET If-None-Match: {tag} | If-Modified-Since: {before}",),
    ),
    Difference(
        "§13.1.4: what is no date must be ignored; nginx takes it for one long ago.",
        (412, None),
        ("GET If-Unmodified-Since: yesterday",),
    ),
    Difference(
        "§13.1.4: If-Unmodified-Since must be ignored beside If-Match; nginx weighs both.",
        (412, None),
        ("GET If-Match: {tag} | If-Unmodified-Since: {before}",),
    ),
]


def difference(row: Row) -> Difference | None:
    found = [one for one in DIFFERENCES if one.covers(row)]
    assert len(found) <= 1
    return found[0] if found else None


@dataclass
class Pair:
    """The clip as the service answers for it, and its file as nginx does."""

    clip: ServedClip
    port: int
    path: str
    validity: Validity

    async def ask_nginx(self, row: Row) -> Answer:
        return await exchange(self.port, head(row.method, self.path, *self.validity.fill(row.lines)))


@pytest.fixture(scope="module")
async def pair(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    folder = tmp_path_factory.mktemp("nginx")
    media = folder / "media"
    port = free_port()
    server = f"""
        server {{
            listen 127.0.0.1:{port};
            root {media};
            types {{}}
            default_type audio/wav;
            add_header Cache-Control no-cache;
            add_header X-Content-Type-Options nosniff;
            add_header Content-Disposition '{DISPOSITION.replace("'", ESCAPED)}';
        }}"""
    async with (
        empty_database(postgres) as url,
        running_service(media, url) as service,
        running_nginx(folder / "nginx", server, port),
    ):
        clip = await add_clip(service)
        (blob,) = (media / "blobs").glob("*/*")
        moment = parsedate_to_datetime(clip.validity.date).timestamp()
        os.utime(blob, (moment, moment))
        path = f"/{blob.relative_to(media)}"
        etag = (await exchange(port, head("HEAD", path))).fields["etag"]
        yield Pair(clip, port, path, Validity(etag, clip.validity.date))


TRANSPORT = frozenset({"date", "connection", "server", "x-request-id"})


def as_nginx_says_it(row: Row, ours: Outcome, pair: Pair) -> Outcome:
    """What differs in every answer of a kind."""
    status, fields, body = ours
    fields = dict(fields)
    if "etag" in fields:  # nginx makes it of time and size, the service of the bytes
        fields["etag"] = pair.validity.tag
    if status != 200:  # §14.3 leaves it open where Accept-Ranges is sent
        fields.pop("accept-ranges", None)
    if status == 304 or (status == 206 and any("If-Range" in line for line in row.lines)):
        # §15.4.5 and §15.3.7 ask not to repeat what the client has.
        fields["last-modified"] = pair.validity.date
    if status in (304, 416):  # nginx adds those of its configuration, and may
        fields |= {"x-content-type-options": "nosniff", "content-disposition": DISPOSITION}
        fields |= {"cache-control": "no-cache"}
    if status in (412, 416):  # a page for people instead of a problem for programs (RFC 9457)
        fields["content-type"], body = "text/html", None
    if status == 412:  # of its configuration, nginx adds nothing to it
        del fields["x-content-type-options"]
    return status, fields, body


@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_row(pair: Pair, row: Row) -> None:
    ours = observed(await pair.clip.ask(row.method, *pair.clip.validity.fill(row.lines)), TRANSPORT)
    answer = await pair.ask_nginx(row)
    status, fields, body = observed(answer, TRANSPORT)
    explained = difference(row)
    if explained is not None:
        assert (status, fields.get("content-range")) == explained.nginx, "the explanation no longer holds"
        assert (status, body) != (ours[0], ours[2])
        return
    if status in (412, 416):
        del fields["content-length"]
        body = None
    assert (status, fields, body) == as_nginx_says_it(row, ours, pair)


def test_every_difference_is_about_a_row() -> None:
    for one in DIFFERENCES:
        for text in one.rows:
            alone = Difference(one.why, one.nginx, (text,))
            assert any(alone.covers(row) for row in ROWS), text
