"""Folding makes equal what people take for the same, and loses nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosic.wire.folding import document, fold, search_words

SAME = [
    ("café", "cafe"),
    ("cafe\u0301", "CAFÉ"),
    ("ＡＢＣ", "abc"),
    ("Straße", "STRASSE"),
    ("ẞ", "ss"),
    ("ё", "е"),
    ("Ёлка", "елка"),
    ("ΟΔΟΣ", "οδος"),
    ("ὀδός", "οδοσ"),
    ("Ærø", "aero"),
    ("Łódź", "lodz"),
    ("Đặng Thái Sơn", "dang thai son"),
    ("İstanbul", "istanbul"),
    ("IŞIK", "ışık"),
    ("Œuvre", "oeuvre"),
    ("ﬁnale", "finale"),
    ("ｶﾞﾗｽ", "がらす"),
    ("ガラス", "がらす"),
    ("ヴァイオリン", "ゔぁいおりん"),
    ("한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8"),
    ("أُمُّ كُلْثُوم", "ام كلثوم"),
    ("مــوسيقى", "موسيقي"),
    ("أغنية", "اغنيه"),
    ("שָׁלוֹם", "שלום"),
    ("٣", "3"),
    ("Don’t", "don't"),
    ("„Hi“", '"hi"'),
    ("a–b", "a-b"),
    ("co\u00adop", "coop"),
    ("x\u3000 y", "x y"),
]
DIFFERENT = [("は", "ば"), ("かき", "かぎ"), ("日", "目"), ("a", "b"), ("মা", "মি"), ("ที่", "ทา")]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_people_take_for_the_same_is_the_same(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_tells_words_apart_stays(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@given(st.text())
def test_folding_again_changes_nothing(text: str) -> None:
    folded = fold(text)
    assert fold(folded) == folded
    assert len(folded) <= 18 * len(text)


@given(st.text(), st.text(), st.text())
def test_every_part_of_a_text_is_found_in_it(before: str, part: str, after: str) -> None:
    folded = document(fold(f"{before} {part} {after}"))
    assert all(word in folded for word in search_words(part))


@given(st.text(st.sampled_from("aé日本かガ한글 ßё'")), st.data())
def test_an_infix_is_found(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    assert all(word in document(fold(text)) for word in search_words(text[start:end]))


def test_signs_are_letters_like_others() -> None:
    assert search_words("100% \\ _'") == ["100%", "_'", "\\"]


def test_no_word_is_found_in_a_part_of_a_character() -> None:
    every = "".join(map(chr, range(0x3040, 0xA000)))
    assert not any(sign in document(every) for sign in "0123456789abcdefghijklmnopqrstuvwxyz")


@given(st.text(), st.text())
def test_documents_are_ascii_and_have_what_their_text_has_and_nothing_else(text: str, part: str) -> None:
    text, part = fold(text), fold(part)
    assert document(text).isascii()
    assert (document(part) in document(text)) == (part in text)


@given(
    st.text(st.sampled_from("日本語の夜ёж"), max_size=6), st.text(st.sampled_from("日本語の夜ёж"), max_size=3)
)
def test_nothing_is_found_across_characters(text: str, part: str) -> None:
    text, part = fold(text), fold(part)
    assert (document(part) in document(text)) == (part in text)


def test_one_character_of_han_has_three_letters_for_the_index() -> None:
    (word,) = search_words("夜")
    assert len(word) >= 3
    assert word.isalnum()
