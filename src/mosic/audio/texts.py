"""Texts whose encoding is not declared, or declared wrongly."""

from __future__ import annotations

import unicodedata

UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_LOOKED_AT = 200
_WITH_CJK = ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC", "FULLWIDTH", "BOPOMOFO")
_IN_ANY_SCRIPT = ("", "SPACE", "DIGIT", "FULL", "COMMA", "COLON", "LEFT", "RIGHT", "EN", "EM", "HYPHEN-MINUS")
_COMMON_CJK = ("gb2312", "shift_jis", "big5", "euc_kr")


def decode(raw: bytes, otherwise: str = "cp1252", *, cut: bool = False) -> str:
    """UTF-8 where it can be read so, which does not happen by chance, else what old programs wrote.

    Nothing is left out: what `otherwise` does not know becomes U+FFFD. `cut` says that the text was cut at a
    number of bytes, perhaps within a character.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        if cut and error.reason == "unexpected end of data":
            return raw[: error.start].decode()
        return raw.decode(otherwise, "replace")


def decode_utf_16(raw: bytes, *, said_big: bool = False) -> str:
    """UTF-16 with a byte order mark or, as some write it, without one. `said_big` says what the order is
    said to be; Latin letters prove it wrong."""
    if raw[:2] in UTF_16_MARKS:
        return raw.decode("utf-16", "replace")
    # The high bytes of a text are few: of Latin letters they are all zero.
    zeros = raw[::2].count(0) - raw[1::2].count(0)
    if zeros or said_big:
        return raw.decode("utf-16-be" if zeros >= 0 else "utf-16-le", "replace")
    return min((raw.decode(order, "replace") for order in ("utf-16-be", "utf-16-le")), key=_oddity)


def _oddity(text: str) -> int:
    """How unlike a text of people it looks: of several scripts, of characters that are none or that are rare
    in the languages with most of them."""
    text = text[:_LOOKED_AT]
    names = [unicodedata.name(letter, "").partition(" ")[0] for letter in text]
    scripts = {"CJK" if name in _WITH_CJK else name for name in names if name not in _IN_ANY_SCRIPT}
    return 4 * len(scripts) + 8 * names.count("") + (not any(_fits(text, codec) for codec in _COMMON_CJK))


def _fits(text: str, codec: str) -> bool:
    try:
        text.encode(codec)
    except UnicodeEncodeError:
        return False
    return True
