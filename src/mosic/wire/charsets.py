"""Decodes text by the encoding that its sender names, else by the one that it most likely has.

Labels are those of the WHATWG Encoding Standard, as far as Python has the encoding. Python's registry of
codecs is never searched for a client's label: some codecs are no character encodings, one is quadratic, and
the registry caches each miss for ever.
"""

from __future__ import annotations

import re
from encodings.aliases import aliases

_KNOWN = {
    *("utf_8", "ascii", "latin_1", "mac_roman", "mac_cyrillic", "koi8_r", "koi8_u", "tis_620", "shift_jis"),
    *("cp932", "euc_jp", "iso2022_jp", "gbk", "gb2312", "gb18030", "big5", "big5hkscs", "euc_kr", "cp949"),
    *("utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be"),
    *("cp437", "cp850", "cp852", "cp858", "cp866", "cp874", "cp950"),
    *(f"iso8859_{number}" for number in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)),
    *(f"cp{number}" for number in range(1250, 1259)),
}
# Labels that Python does not know, without hyphens and «x-».
_LABELS = {
    "utf_8": "unicode_1_1_utf_8 unicode11utf8 unicode20utf8",
    "utf_16_le": "csunicode iso_10646_ucs_2 ucs_2 unicode unicodefeff",
    "utf_16_be": "unicodefffe",
    "iso8859_6": "csiso88596e csiso88596i iso_8859_6_e iso_8859_6_i",
    "iso8859_7": "sun_eu_greek",
    "iso8859_8": "csiso88598e csiso88598i iso_8859_8_e iso_8859_8_i visual logical",
    "iso8859_15": "csisolatin9",
    "koi8_r": "koi koi8",
    "koi8_u": "koi8_ru",
    "mac_roman": "csmacintosh mac",
    "mac_cyrillic": "mac_ukrainian",
    "cp874": "dos_874 windows_874",
    "gbk": "csgb2312 gb_2312 gb_2312_80 windows_936",
    "big5": "cn_big5 x_big5",
    "cp950": "ms950 windows_950",
    "euc_jp": "cseucpkdfmtjapanese",
    "shift_jis": "windows_31j",
    "euc_kr": "cseuckr csksc56011987 iso_ir_149 ks_c_5601_1989 ksc_5601 windows_949",
}
_BY_LABEL = {label: codec for codec, labels in _LABELS.items() for label in labels.split()}
_ISO_8859 = re.compile(r"iso8859([0-9]{1,2})")
# Who names one of these mostly writes the larger set that Windows made of it; the standard decodes so too.
_LARGER = {
    "shift_jis": "cp932", "gb2312": "gb18030", "gbk": "gb18030", "euc_kr": "cp949", "big5": "big5hkscs",
    "iso8859_9": "cp1254", "iso8859_11": "cp874", "tis_620": "cp874",
}  # fmt: skip
_LONGEST = 40
_NOT_WORD = re.compile(r"[^a-z0-9]+")


def codec_of(label: str) -> str | None:
    """The Python codec for a label such as `ISO-8859-1`; None when it names no known encoding."""
    if len(label) > _LONGEST:
        return None
    name = _NOT_WORD.sub("_", label.strip().lower()).removeprefix("x_")
    name = _BY_LABEL.get(name) or aliases.get(name) or _ISO_8859.sub(r"iso8859_\1", name)
    name = aliases.get(name, name)
    return _LARGER.get(name, name) if name in _KNOWN else None


def decoded(raw: bytes | bytearray, *labels: str | None) -> str:
    """The text by the first of the labels that is known and fits, else as UTF-8, else as windows-1252.

    That never fails, because bytes that windows-1252 does not define are read as Latin-1. Latin-1 itself is
    read as windows-1252 too, as in every browser.
    """
    for label in (*labels, "utf-8"):
        codec = codec_of(label) if label else None
        if codec is None:
            continue
        if codec == "latin_1":
            break
        try:
            return raw.decode(codec).removeprefix("\ufeff")
        except UnicodeDecodeError:
            continue
    return western(raw)


def western(raw: bytes | bytearray) -> str:
    """windows-1252, which has the quotes and dashes that Latin-1 lacks; never fails."""
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte in _UNDEFINED else bytes((byte,)).decode("cp1252") for byte in raw)


_UNDEFINED = frozenset((0x81, 0x8D, 0x8F, 0x90, 0x9D))
