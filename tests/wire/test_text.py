"""Text from outside, made fit to be stored and shown."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosic.wire.text import clean, clean_line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("  outer space \t\n", "outer space"),
        ("a\x00b\x00", "ab"),
        ("bell\x07, escape\x1b[31m, delete\x7f, C1 \x9b", "bell, escape[31m, delete, C1"),
        ("two\r\nlines\rthree", "two\nlines\nthree"),
        ("tab\tstays", "tab\tstays"),
        ("\ufeffmark", "mark"),
        ("lone \ud83c here", "lone \ufffd here"),
        ("pair \ud83c\udfb5 here", "pair 🎵 here"),
        ("👩‍👩‍👧 Ελλάδα 日本", "👩‍👩‍👧 Ελλάδα 日本"),
        ("\x00\x01\x02", ""),
        ("song\u202egpj.exe\u202c", "songgpj.exe"),
        ("\u2066isolated\u2069 \u202aembedded", "isolated embedded"),
        ("one\u2028two\u2029three", "one\ntwo\nthree"),
        ("\u200fשלום\u200e", "\u200fשלום\u200e"),
    ],
)
def test_clean(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(st.text(st.characters(exclude_categories=())))
def test_nothing_harmful_is_left_of_any_text(text: str) -> None:
    """By Unicode's own properties, not by a list of characters."""
    for cleaned, allowed in ((clean(text), "\n\t"), (clean_line(text), "")):
        for character in cleaned:
            assert character in allowed or unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
            assert unicodedata.bidirectional(character) not in (
                ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
            )
        assert clean(cleaned) == cleaned


def test_a_line_is_one_line() -> None:
    assert clean_line(" one\r\n\ttwo  three\u2028four ") == "one two three four"
