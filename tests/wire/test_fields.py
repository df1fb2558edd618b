"""What all header fields have in common (RFC 9110 §5.3, §8.3.1, §8.6)."""

from __future__ import annotations

import pytest

from mosic.wire.fields import TOO_LONG, essence_of, fields_by_name, parse_length, select_fields

LINES = [(b"range", b"bytes=0-1"), (b"x-other", b"a"), (b"range", b"5-6"), (b"etag", b'"\xe4"')]


def test_lines_of_one_name_are_one_list() -> None:
    assert fields_by_name(LINES) == {"range": "bytes=0-1, 5-6", "x-other": "a", "etag": '"ä"'}


def test_names_have_no_case_and_values_no_space_around_them() -> None:
    assert fields_by_name([(b"Accept", b" a\t"), (b"ACCEPT", b"b")]) == {"accept": "a, b"}


def test_only_the_fields_that_matter_are_read() -> None:
    assert select_fields(LINES, {b"range": "Range", b"date": "Date"}) == {"Range": "bytes=0-1, 5-6"}


@pytest.mark.parametrize(
    ("content_type", "essence"),
    [
        ("audio/ogg", "audio/ogg"),
        ("Audio/OGG ; codecs=opus", "audio/ogg"),
        ("\tmultipart/form-data;boundary=x", "multipart/form-data"),
        ("", ""),
        (";", ""),
    ],
)
def test_essence(content_type: str, essence: str) -> None:
    assert essence_of(content_type) == essence


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("0", 0),
        ("007", 7),
        (str(2**63 - 1), 2**63 - 1),
        (str(2**63), TOO_LONG),
        ("9" * 19, TOO_LONG),
        ("9" * 100_000, TOO_LONG),
        ("0" * 100_000 + "5", 5),
    ],
)
def test_lengths(value: str, length: int) -> None:
    assert parse_length(value) == length


@pytest.mark.parametrize("value", ["", "-1", "+1", "1.0", "1_0", " 1", "1, 1", "٣", "²", "0x1"])
def test_what_is_no_length(value: str) -> None:
    with pytest.raises(ValueError, match="not a length"):
        parse_length(value)
