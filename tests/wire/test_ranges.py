"""Range fields, judged by RFC 9110 §14 and the choices of the HTTP contract."""

from __future__ import annotations

import pytest

from mosic.wire.ranges import (
    MAX_FIELD_SIZE,
    MAX_RANGES,
    Slice,
    Unsliced,
    parse_range,
    resolve,
)

Answer = list[tuple[int, int]] | Unsliced | None


def answer(field: str | None, size: int) -> Answer:
    """First and last positions of what is sent; None: the field is ignored."""
    asked = parse_range(field)
    if asked is None:
        return None
    resolved = resolve(asked, size)
    if isinstance(resolved, Unsliced):
        return resolved
    return [(piece.start, piece.stop - 1) for piece in resolved]


@pytest.mark.parametrize(
    ("field", "size", "expected"),
    [
        # The examples of §14.1.2, of a file of 10,000 bytes
        ("bytes=0-499", 10_000, [(0, 499)]),
        ("bytes=500-999", 10_000, [(500, 999)]),
        ("bytes=-500", 10_000, [(9500, 9999)]),
        ("bytes=9500-", 10_000, [(9500, 9999)]),
        ("bytes=0-0,-1", 10_000, [(0, 0), (9999, 9999)]),
        ("bytes= 0-999, 4500-5499, -1000", 10_000, [(0, 999), (4500, 5499), (9000, 9999)]),
        ("bytes=500-600,601-999", 10_000, [(500, 999)]),
        ("bytes=500-700,601-999", 10_000, [(500, 999)]),
        # R4: a last position that is absent, or beyond the end, means the remainder
        ("bytes=0-99999", 100, [(0, 99)]),
        ("bytes=0-100", 100, [(0, 99)]),
        ("bytes=0-99", 100, [(0, 99)]),
        ("bytes=99-", 100, [(99, 99)]),
        # R5: a suffix longer than the file is the whole file
        ("bytes=-99999", 100, [(0, 99)]),
        ("bytes=-100", 100, [(0, 99)]),
        ("bytes=-1", 100, [(99, 99)]),
        # What players ask for first
        ("bytes=0-", 100, [(0, 99)]),
        ("bytes=0-1", 100, [(0, 1)]),
        ("bytes=0-", 1, [(0, 0)]),
    ],
)
def test_satisfiable_ranges_are_sliced(field: str, size: int, expected: Answer) -> None:
    assert answer(field, size) == expected


@pytest.mark.parametrize(
    ("field", "size"),
    [
        ("bytes=100-", 100),  # R9: the end of a resume that is already complete
        ("bytes=100-200", 100),
        ("bytes=-0", 100),  # R6
        ("bytes=-000", 100),
        ("bytes=100-,200-300,-0", 100),
        ("bytes=0-", 0),  # §14.1.2: only a suffix is satisfiable in nothing
        ("bytes=0-0", 0),
        ("bytes=-0", 0),
    ],
)
def test_a_set_without_a_satisfiable_range_is_unsatisfiable(field: str, size: int) -> None:
    assert answer(field, size) is Unsliced.UNSATISFIABLE


def test_a_suffix_of_an_empty_file_is_the_whole_of_it() -> None:
    assert answer("bytes=-5", 0) is Unsliced.WHOLE


@pytest.mark.parametrize("unit", ["bytes", "BYTES", "Bytes", "bYtEs"])
@pytest.mark.parametrize("ranges", ["0-4", "0-4,10-14"])
def test_the_unit_is_case_insensitive(unit: str, ranges: str) -> None:  # R3
    assert answer(f"{unit}={ranges}", 100) == answer(f"bytes={ranges}", 100)
    assert answer(f"{unit}={ranges}", 100) is not None


@pytest.mark.parametrize("ranges", ["0-4", "0-4,10-14"])
@pytest.mark.parametrize(
    "unit",
    ["seconds", "byte", "bytes2", "xbytes", "", "none", "byteſ", "bytes ", " byt es", "bytes;q=1"],  # R2
)
def test_another_unit_is_ignored(unit: str, ranges: str) -> None:
    assert parse_range(f"{unit}={ranges}") is None


@pytest.mark.parametrize(
    "field",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes= , ,",
        "bytes=-",
        "bytes=--5",
        "bytes=0",
        "bytes=abc",
        "bytes=0-4-8",
        "bytes=0--4",
        "bytes=5-4",  # last before first (§14.1.1)
        "bytes=0-4,5-4",
        "bytes=5-4,0-4",
        "bytes=0-4;5-9",
        "bytes=0-4 10-14",
        "bytes=0 -4",
        "bytes=0- 4",
        "bytes=- 4",
        "bytes=1_0-2_0",
        "bytes=+0-4",
        "bytes=0-+4",
        "bytes=0x0-0x4",
        "bytes=0.0-4",
        "bytes=1e2-",
        "bytes=٠-٤",  # digits, but not of ASCII
        "bytes=²-³",
        "bytes=0-4\n",
        "bytes=0-4\x00",
        "bytes=0-4,\x0b5-9",
        "bytes=\u00a00-4",
        "bytes=0-4,junk",
        "bytes==0-4",
        "bytes:0-4",
        "bytes 0-4",
        "0-4",
        "bytes=0-4, bytes=5-9",  # two lines joined
    ],
)
def test_what_the_grammar_does_not_know_is_ignored(field: str | None) -> None:  # R10
    assert parse_range(field) is None


@pytest.mark.parametrize(
    "field",
    [
        "bytes=0-4,10-14",
        "bytes=0-4, 10-14",
        "bytes=0-4 ,10-14",
        "bytes=0-4\t,\t10-14",
        "bytes=,0-4,,10-14,",
        "bytes= , 0-4 , , 10-14 , ",
        "bytes=\t0-4,10-14",
        " bytes=0-4,10-14 ",
        "bytes=00000-4,010-000000000000000000000000000014",
    ],
)
def test_white_space_around_commas_and_empty_members_are_accepted(field: str) -> None:  # §5.6.1.2
    assert answer(field, 100) == [(0, 4), (10, 14)]


def test_an_empty_member_does_not_make_a_single_range_a_set() -> None:
    assert answer("bytes=0-,", 100) == [(0, 99)]


@pytest.mark.parametrize(
    "digits",
    ["9" * 18, "1" + "0" * 18, str(2**63), str(2**64), "9" * 26, "1" * 641, "9" * 5000],
    ids=lambda digits: f"{len(digits)} digits",
)
def test_big_numerals_do_not_overflow(digits: str) -> None:  # R7; int() refuses 4,301 digits
    assert answer(f"bytes=0-{digits}", 100) == [(0, 99)]
    assert answer(f"bytes=-{digits}", 100) == [(0, 99)]
    assert answer(f"bytes={digits}-", 100) is Unsliced.UNSATISFIABLE
    assert answer(f"bytes={digits}-,0-4", 100) == [(0, 4)]
    assert parse_range(f"bytes={digits}-4") is None


def test_big_numerals_are_compared_exactly() -> None:
    big = "1" + "0" * 25
    assert parse_range(f"bytes={big}1-{big}0") is None
    assert answer(f"bytes={big}0-{big}1", 100) is Unsliced.UNSATISFIABLE
    assert parse_range(f"bytes={big}0-{big}") is None
    assert answer(f"bytes=00{big}-{big}", 100) is Unsliced.UNSATISFIABLE


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ("10-14,0-4", [(10, 14), (0, 4)]),  # R14: the order asked
        ("90-,0-4,50-54", [(90, 99), (0, 4), (50, 54)]),
        ("0-4,5-9", [(0, 9)]),  # touching
        ("5-9,0-4", [(0, 9)]),
        ("0-4,6-9", [(0, 4), (6, 9)]),
        ("0-9,5-14", [(0, 14)]),  # overlapping
        ("0-9,2-3", [(0, 9)]),
        ("2-3,0-9", [(0, 9)]),
        ("0-4,0-4", [(0, 4)]),
        ("50-59,0-9,55-69", [(50, 69), (0, 9)]),  # joined where the first of them stood
        ("55-69,0-9,50-59", [(50, 69), (0, 9)]),
        ("0-9,50-59,20-29,5-24", [(0, 29), (50, 59)]),  # one that bridges two others
        ("50-59,20-29,0-9,5-24", [(50, 59), (0, 29)]),
        ("0-4,100-,200-300", [(0, 4)]),  # unsatisfiable members dropped
        ("-0,10-14", [(10, 14)]),
        ("95-,-5", [(95, 99)]),
    ],
)
def test_several_ranges(ranges: str, expected: Answer) -> None:
    assert answer(f"bytes={ranges}", 100) == expected


@pytest.mark.parametrize(
    "ranges", ["0-49,50-99", "0-,0-", "0-,-1", "50-,0-49", "0-60,0-60", "0-98,99-", "0-,100-"]
)
def test_several_ranges_that_add_up_to_the_file_get_it_whole(ranges: str) -> None:
    assert answer(f"bytes={ranges}", 100) is Unsliced.WHOLE


def test_several_ranges_short_of_the_file_do_not() -> None:
    assert answer("bytes=0-49,50-98", 100) == [(0, 98)]


def ascending(count: int) -> str:
    return "bytes=" + ",".join(f"{start * 10}-{start * 10 + 4}" for start in range(count))


def test_sixteen_ranges_are_served_and_more_are_not() -> None:
    assert MAX_RANGES == 16
    sixteen = answer(ascending(16), 10_000)
    assert isinstance(sixteen, list)
    assert len(sixteen) == 16
    assert answer(ascending(17), 10_000) is None
    assert answer(ascending(16) + ", ,", 10_000) == sixteen


@pytest.mark.parametrize(
    "field",
    [
        ascending(10_000),
        "bytes=" + "0-," * 10_000,
        "bytes=" + "9999-9999,0-0," * 10_000,
        "bytes=" + "," * 1_000_000 + "0-4",
        "bytes=" + " " * 1_000_000 + "0-4",
        "bytes=0-" + "9" * 1_000_000,
        "bytes=" + "5" * 1_000_000,
        "bytes" * 200_000,
        "=" * 1_000_000,
    ],
    ids=lambda field: f"{field[:20]}…",
)
def test_an_endless_field_is_ignored(field: str) -> None:
    assert parse_range(field) is None


def test_the_longest_field_that_is_read() -> None:
    field = "bytes=0-4"
    assert answer(field + "," * (MAX_FIELD_SIZE - len(field)), 100) == [(0, 4)]
    assert answer(field + "," * (MAX_FIELD_SIZE - len(field) + 1), 100) is None


@pytest.mark.parametrize(
    ("piece", "size", "expected"),
    [  # §14.4
        (Slice(0, 500), 1234, "bytes 0-499/1234"),
        (Slice(500, 1000), 1234, "bytes 500-999/1234"),
        (Slice(500, 1234), 1234, "bytes 500-1233/1234"),
        (Slice(734, 1234), 1234, "bytes 734-1233/1234"),
        (Slice(0, 1), 1, "bytes 0-0/1"),
    ],
)
def test_content_range(piece: Slice, size: int, expected: str) -> None:
    assert piece.content_range(size).decode() == expected
    assert piece.size == piece.stop - piece.start
