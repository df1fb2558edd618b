"""Text tags made the same: names, clean values, limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosic.audio.tags import normalise

ANY = st.characters(exclude_categories=())


def one(*pairs: tuple[str, str]) -> Any:
    return normalise(pairs)


@given(st.lists(st.tuples(st.text(ANY), st.text(ANY))))
def test_any_text_can_be_stored(pairs: list[tuple[str, str]]) -> None:
    """PostgreSQL's text and jsonb refuse NUL and lone surrogates."""
    found = normalise(pairs)
    stored = json.dumps(found, ensure_ascii=False)
    stored.encode()
    assert "\\u0000" not in stored
    assert all(values and all(value.strip() for value in values) for values in found["tags"].values())


@pytest.mark.parametrize(
    ("value", "number", "tags"),
    [
        ("3", 3, {"tracknumber": ["3"]}),
        ("03", 3, {"tracknumber": ["03"]}),
        ("3/12", 3, {"tracknumber": ["3"], "tracktotal": ["12"]}),
        ("3 / 12", 3, {"tracknumber": ["3"], "tracktotal": ["12"]}),
        ("/12", None, {"tracktotal": ["12"]}),
        ("0", None, {"tracknumber": ["0"]}),
        ("A1", None, {"tracknumber": ["A1"]}),
        ("-3", None, {"tracknumber": ["-3"]}),
        ("2147483647", 2147483647, {"tracknumber": ["2147483647"]}),
        ("2147483648", None, {"tracknumber": ["2147483648"]}),
        ("9" * 400, None, {"tracknumber": ["9" * 400]}),
        ("٣", 3, {"tracknumber": ["٣"]}),
    ],
)
def test_numbers(value: str, number: int | None, tags: dict[str, list[str]]) -> None:
    found = one(("tracknumber", value))
    assert found["track_number"] == number
    assert found["tags"] == tags


@pytest.mark.parametrize(
    ("value", "date"),
    [
        ("2019", "2019"),
        ("2019-03", "2019-03"),
        ("2019-03-01", "2019-03-01"),
        ("2019-3-1", "2019-03-01"),
        ("2019-03-01T08:00:00Z", "2019-03-01"),
        ("2019-03-01 10:00:00", "2019-03-01"),
        ("20190301", "2019-03-01"),
        ("2019/03/01", "2019-03-01"),
        ("2019-00-00", "2019"),
        ("2019-03-00", "2019-03"),
        ("2019-00-12", "2019"),
        ("2019-27-12", "2019-12-27"),  # TDAT with the month first
        ("20192712", "2019-12-27"),
        ("2019-31-31", "2019"),
        ("2019-02-30", "2019"),
        ("2020-02-29", "2020-02-29"),
        ("2019-13", "2019"),
        ("2023:03:08", "2023-03-08"),
        ("0031-12", "0031-12"),
        ("0019-03-01", "0019-03-01"),
        ("0000", None),
        ("0000-00-00", None),
        ("", None),
        ("circa 1970", "circa 1970"),
        ("01.03.2019", "2019-03-01"),
        ("31.12.2019 10:00", "2019-12-31"),
        ("12/31/2019", "2019-12-31"),
        ("31-12-2019", "2019-12-31"),
        ("31/31/2019", "2019"),
        ("1/2/2003", "2003"),  # which of them is the month, nobody can say
        ("2/2/2003", "2003-02-02"),
        ("19", "19"),
        ("x" * 100, "x" * 64),
    ],
)
def test_dates(value: str, date: str | None) -> None:
    assert one(("date", value))["date"] == date


def test_names() -> None:
    found = one(
        ("TITLE", "T"),
        ("Album Artist", "AA"),
        ("Year", "1999"),
        ("Track", "2"),
        ("disc", "1"),
        ("Foo Bar", "x"),
    )
    assert found["title"] == "T"
    assert found["album_artist"] == "AA"
    assert found["date"] == "1999"
    assert (found["track_number"], found["disc_number"]) == (2, 1)
    assert found["tags"]["foo bar"] == ["x"]
    assert set(found["tags"]) == {"title", "albumartist", "date", "tracknumber", "discnumber", "foo bar"}


def test_several_values() -> None:
    found = one(
        ("artist", "A"),
        ("artist", "B"),
        ("artist", "A"),
        ("genre", "Rock"),
        ("genre", "Pop"),
        ("title", "x"),
        ("title", "y"),
    )
    assert found["artist"] == "A, B"
    assert found["genre"] == "Rock, Pop"
    assert found["title"] == "x"
    assert found["tags"]["artist"] == ["A", "B"]
    assert found["tags"]["title"] == ["x", "y"]


def test_a_field_is_one_line() -> None:
    assert one(("title", "two\nlines"))["title"] == "two lines"
    assert one(("lyrics", "two\nlines"))["tags"]["lyrics"] == ["two\nlines"]


def test_the_first_tag_that_has_a_name_wins() -> None:
    found = normalise([("title", "A long title, whole")], [("title", "A long ti"), ("comment", "old")])
    assert found["title"] == "A long title, whole"
    assert found["tags"] == {"title": ["A long title, whole"], "comment": ["old"]}


def test_pictures_are_no_text() -> None:
    assert (
        one(("METADATA_BLOCK_PICTURE", "AAAA"), ("COVERART", "AAAA"), ("coverartmime", "image/png"))["tags"]
        == {}
    )


def test_a_long_value_is_cut() -> None:
    assert one(("comment", "x" * 1_000_000))["tags"]["comment"] == ["x" * 65536]
    (cut,) = one(("comment", "日" * 1_000_000))["tags"]["comment"]
    assert len(cut.encode()) in range(65534, 65537)
    assert set(cut) == {"日"}


def test_there_is_an_end_to_it() -> None:
    many = [(f"name{number}", "x") for number in range(10_000)]
    assert len(one(*many)["tags"]) <= 256
    much = [(f"name{number}", "x" * 60_000) for number in range(256)]
    assert sum(len(value) for values in one(*much)["tags"].values() for value in values) <= 1 << 20
    again = [("artist", str(number)) for number in range(10_000)]
    assert len(one(*again)["tags"]["artist"]) <= 100
    assert one(("n" * 10_000, "x"))["tags"].keys() == {"n" * 100}
