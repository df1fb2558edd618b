"""Ranges against a slow and obvious model: a range is a set of positions."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from mosic.wire.ranges import MAX_RANGES, AskedRange, IntRange, SuffixRange, Unsliced, parse_range, resolve

Answer = list[tuple[int, int]] | Unsliced

any_text = st.text(st.characters())  # lone surrogates too

sizes = st.integers(0, 10) | st.integers(50, 150)
small = st.integers(0, 10)
asked_ranges = st.one_of(
    st.builds(lambda first, more: IntRange(first, first + more), sizes, small),
    st.builds(IntRange, sizes, st.none()),
    st.builds(SuffixRange, small),
)
asked_sets = st.lists(asked_ranges, min_size=1, max_size=MAX_RANGES)
optional_space = st.text(" \t", max_size=2)
leading_zeros = st.sampled_from(["", "0", "0" * 20])
separators = st.lists(st.just(","), min_size=1, max_size=3)


def positions(asked: AskedRange, size: int) -> set[int]:
    if isinstance(asked, SuffixRange):
        return set(list(range(size))[-asked.length :]) if asked.length else set()
    last = size if asked.last is None else asked.last
    return {position for position in range(size) if asked.first <= position <= last}


def modelled(asked: list[AskedRange], size: int) -> Answer:
    if size == 0:
        some_suffix = any(isinstance(one, SuffixRange) and one.length for one in asked)
        return Unsliced.WHOLE if some_suffix else Unsliced.UNSATISFIABLE
    sets = [found for one in asked if (found := positions(one, size))]
    if not sets:
        return Unsliced.UNSATISFIABLE
    if len(asked) > 1 and sum(map(len, sets)) >= size:
        return Unsliced.WHOLE
    runs: list[tuple[int, int]] = []
    union = set().union(*sets)
    for found in sets:
        first = last = min(found)
        while first - 1 in union:
            first -= 1
        while last + 1 in union:
            last += 1
        if (first, last) not in runs:
            runs.append((first, last))
    return runs


@given(asked_sets, sizes)
def test_resolving_agrees_with_sets_of_positions(asked: list[AskedRange], size: int) -> None:
    resolved = resolve(tuple(asked), size)
    slices = (
        resolved if isinstance(resolved, Unsliced) else [(piece.start, piece.stop - 1) for piece in resolved]
    )
    assert slices == modelled(asked, size)


def printed(asked: AskedRange, zeros: str) -> str:
    if isinstance(asked, SuffixRange):
        return f"-{zeros}{asked.length}"
    return f"{asked.first}-" if asked.last is None else f"{zeros}{asked.first}-{asked.last}"


@given(asked_sets, st.data())
def test_whatever_follows_the_grammar_is_understood(asked: list[AskedRange], data: st.DataObject) -> None:
    field = "bytes="
    for number, one in enumerate(asked):
        commas = data.draw(separators) if number else []
        for comma in commas:
            field += data.draw(optional_space) + comma
        field += data.draw(optional_space) + printed(one, data.draw(leading_zeros))
    assert parse_range(field) == tuple(asked)


@given(any_text | st.text("0123456789-, \t=bytesBYTES", max_size=40).map(lambda text: f"bytes={text}"))
def test_any_text_is_read_or_ignored(field: str) -> None:
    asked = parse_range(field)
    if asked is None:
        return
    assert 1 <= len(asked) <= MAX_RANGES
    assert re.fullmatch(r"[0-9, \t-]+", field.strip()[6:])
    for size in (0, 1, 100):
        resolved = resolve(asked, size)
        if not isinstance(resolved, Unsliced):
            assert resolved
            assert all(0 <= piece.start < piece.stop <= size for piece in resolved)
