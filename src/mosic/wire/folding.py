"""Folds text so that people find it: by any spelling of the same letters, with any part of a word.

What is folded: letter case (Unicode's full case folding, so ß = ss and a final sigma is a sigma), width and
other compatibility forms (NFKD), accents and other marks above and below letters, letters with strokes and
ligatures that NFKD leaves whole (ø, đ, ł, æ …), Arabic and Hebrew forms of one letter, katakana to
hiragana, digits of every script, and forms of quotes and dashes. What distinguishes words stays: the voiced
marks of kana, and the vowel signs of Indic scripts, Thai and Lao.

Text without accents finds text with them, and the other way round.
"""

from __future__ import annotations

import re
import unicodedata

VERSION = 1
"""Grows with each change of what comes out: stored documents are then made anew."""

MAX_WORDS = 20
"""Of one search."""

_LETTERS = str.maketrans(
    {
        # Latin letters with strokes, and letters made of two, which have no decomposition
        "ø": "o",
        "đ": "d",
        "ð": "d",
        "ł": "l",
        "ħ": "h",
        "ŧ": "t",
        "ı": "i",
        "ŋ": "n",
        "ĸ": "k",
        "æ": "ae",
        "œ": "oe",
        "þ": "th",
        "ƀ": "b",
        "ɨ": "i",
        "ʉ": "u",
        "ƶ": "z",
        "ǥ": "g",
        "ə": "e",
        # Arabic: what habit or keyboard writes for alef, ya, kaf and ta marbuta; tatweel only stretches
        "ٱ": "ا",
        "ى": "ي",
        "ی": "ي",
        "ک": "ك",
        "ة": "ه",
        "ـ": None,
        # Hebrew letters at the end of a word
        "ך": "כ",
        "ם": "מ",
        "ן": "נ",
        "ף": "פ",
        "ץ": "צ",
        **dict.fromkeys("’‘‛ʼʹ′`´＇", "'"),
        **dict.fromkeys("“”„‟«»″", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **{chr(code): chr(code - 0x60) for code in range(0x30A1, 0x30F7)},
    }
)
# Canonical combining classes of marks that distinguish words: voiced kana, viramas, vowels and tones of Thai
# and Lao. Vowel signs elsewhere are of class 0 and stay by themselves.
_KEPT_CLASSES = frozenset((0, 8, 9, 103, 107, 118, 122))
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_DIGITS = "BCDEFGHIJKLMNOPQRSTUVWXYZ"
# Behind it lie no letters of any script: only private use, and what the fourth power of 25 has no room for.
_LAST_LETTER = "\U0003ffff"


def fold(text: str) -> str:
    """The text folded, on one line, without white space around it. Folding it again changes nothing. At most
    18 times as long, which is what NFKD makes of a single character (U+FDFA)."""
    if text.isascii():
        return " ".join(text.lower().replace("`", "'").split())
    before = None
    # Case folding brings marks to light, and without a mark a letter may have a form of its own.
    while text != before:
        before = text
        text = unicodedata.normalize("NFKD", text)
        text = "".join(map(_folded, text)).casefold().translate(_LETTERS)
        text = " ".join(unicodedata.normalize("NFC", text).split())
    return text


def _folded(character: str) -> str:
    if character.isascii():
        return character
    if character > _LAST_LETTER:
        return "" if _is_selector(character) else "\ufffd"
    category = unicodedata.category(character)
    if category[0] == "M":
        if unicodedata.combining(character) not in _KEPT_CLASSES or _is_selector(character):
            return ""
    elif category == "Cf":  # joiners, soft hyphens, marks of direction
        return ""
    elif category == "Nd":
        return str(unicodedata.decimal(character))
    return character


def _is_selector(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0000" <= character <= "\U000e01ef"


def document(folded: str) -> str:
    """A folded text as it is searched in, by `search_words`: in ASCII.

    The index of PostgreSQL takes three letters at a time, and what a letter is depends on the locale of the
    database: in many, nothing but ASCII. So every other character is written as the capital A and four digits
    of base 25, the capitals from B to Z. No folded text has a capital, and A is only at the beginning: so no
    word is found in a part of a character, or across two. And one or two characters of Chinese, which may be
    a word, have an index too.
    """
    return _NOT_ASCII.sub(_in_ascii, folded)


def _in_ascii(found: re.Match[str]) -> str:
    rest, last = divmod(ord(found[0]), 25)
    rest, third = divmod(rest, 25)
    first, second = divmod(rest, 25)
    return f"A{_DIGITS[first]}{_DIGITS[second]}{_DIGITS[third]}{_DIGITS[last]}"


def search_words(text: str) -> list[str]:
    """The parts that must all be in a document (`document`), the longest first, of a search text;
    none of white space alone. A part that is within another is left out."""
    parts = {document(word) for word in fold(text).split()}
    kept: list[str] = []
    for part in sorted(parts, key=lambda part: (-len(part), part)):
        if not any(part in other for other in kept):
            kept.append(part)
    return kept
