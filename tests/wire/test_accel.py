"""Which answers nginx may send in the service's place; tests/web/test_behind_nginx.py asks a real one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mosic.wire.accel import can_hand_over, handed_over
from mosic.wire.retrieval import read_retrieval

ETAG = '"abc"'
NOW = datetime(2026, 11, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"range": "bytes=0-"}, 206),
        ({"range": "bytes=5-9"}, 206),
        ({"range": "bytes=-9"}, 206),
        ({"range": "bytes=5-9", "if-range": ETAG}, 206),
    ],
)
def test_whole_or_one_plain_range(fields: dict[str, str], status: int) -> None:
    assert can_hand_over(read_retrieval("GET", fields, lambda: NOW), ETAG, status)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"range": "bytes=5-9", "if-range": '"other"'}, 200),
        ({"range": "bytes=5-9", "if-range": "Sat, 21 Nov 2026 09:22:42 GMT"}, 206),
        ({"range": "bytes=5-4"}, 200),
        ({"range": "seconds=5-9"}, 200),
        ({"range": "bytes=0-1,5-6"}, 206),
        ({"range": "bytes=0-1,2-3"}, 206),
        ({"range": "bytes=0-1,99999-"}, 206),
        ({"range": "bytes=,0-1"}, 206),
        ({"range": " bytes=0-1"}, 206),
        ({"range": "BYTES=0-1"}, 206),
        ({"range": "bytes=0-9999999999999999999"}, 206),
        ({"range": "bytes=-"}, 200),
        ({"if-match": ETAG}, 200),
        ({"if-match": ETAG, "range": "bytes=0-1"}, 206),
        ({"if-none-match": '"other"'}, 200),
        ({"if-modified-since": "Sat, 21 Nov 2026 09:22:42 GMT"}, 200),
        ({"if-unmodified-since": "Sat, 21 Nov 2026 09:22:42 GMT"}, 200),
    ],
)
def test_what_nginx_could_see_differently(fields: dict[str, str], status: int) -> None:
    assert not can_hand_over(read_retrieval("GET", fields, lambda: NOW), ETAG, status)


def test_fields_about_the_extent_are_left_to_nginx() -> None:
    headers = [
        (b"etag", b'"abc"'),
        (b"accept-ranges", b"bytes"),
        (b"content-type", b"audio/wav"),
        (b"content-length", b"5"),
        (b"content-range", b"bytes 0-4/10"),
    ]
    there = (b"x-accel-redirect", b"/_media/blobs/ab/key")
    shared = [(b"etag", b'"abc"'), (b"content-type", b"audio/wav"), (b"content-length", b"0"), there]
    assert sorted(handed_over(headers, 200, "/_media/blobs/ab/key")) == sorted(shared)
    assert sorted(handed_over(headers, 206, "/_media/blobs/ab/key")) == sorted(
        [*shared, (b"accept-ranges", b"bytes")]
    )
