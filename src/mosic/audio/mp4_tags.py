"""The text tags of MP4 and QuickTime files, of which there are four kinds, often side by side.

The item list of iTunes (`ilst`) goes on to mutagen, without its pictures. Apple's metadata keys, as iPhones
and ffmpeg write them ("QuickTime File Format", Metadata), QuickTime's user data texts (User Data Atoms) and
those of 3GPP (TS 26.244 §8) are read here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from mosic.audio.boxes import Box, boxes, child, make, number, payload
from mosic.audio.names import MP4, MP4_KEYS, THREE_GPP
from mosic.audio.source import LARGEST_TEXT, Memory, Pairs, Source
from mosic.audio.texts import UTF_16_MARKS, decode, decode_utf_16

_LONGEST_TEXT = 64 << 10
_MOST_KEYS = 4096
_FIRST_ISO_LANGUAGE = 0x400
# Languages of the Macintosh whose scripts are not Roman; "Inside Macintosh: Text", appendix B.
_ENCODINGS = {
    11: "shift_jis", 14: "mac_greek", 15: "mac_iceland", 17: "mac_turkish", 18: "mac_croatian",
    19: "big5", 23: "euc_kr", 24: "mac_latin2", 25: "mac_latin2", 26: "mac_latin2", 27: "mac_latin2",
    28: "mac_latin2", 32: "mac_cyrillic", 33: "gb2312", 36: "mac_latin2", 37: "mac_romanian",
    38: "mac_latin2", 39: "mac_latin2", 42: "mac_cyrillic", 43: "mac_cyrillic", 44: "mac_cyrillic",
    45: "mac_cyrillic", 46: "mac_cyrillic",
}  # fmt: skip
_UTF_8, _UTF_16, _SIGNED, _UNSIGNED, _FLOAT_32, _FLOAT_64 = 1, 2, 21, 22, 23, 24


def read(source: Source, moov: Box) -> list[Pairs | bytes]:
    """All tags in the index, the most reliable first."""
    keyed: Pairs = []
    texts: Pairs = []
    authors: Pairs = []
    items: list[bytes] = []
    holders = [moov] + [box for box in boxes(source, moov.start, moov.end) if box.name == b"udta"]
    for holder in holders:
        for box in boxes(source, holder.start, holder.end):
            if box.name == b"meta":
                _read_meta(source, box, keyed, items)
            elif holder is moov:
                continue
            elif box.name[0] == 0xA9:
                texts += _quicktime_texts(box.name, payload(source, box, _LONGEST_TEXT))
            elif box.name == b"auth":
                authors += _three_gpp_texts("artist", box.name, payload(source, box, _LONGEST_TEXT))
            elif known := THREE_GPP.get(box.name):
                texts += _three_gpp_texts(known, box.name, payload(source, box, _LONGEST_TEXT))
    found: list[Pairs | bytes] = []
    if items:
        inner = make(b"udta", make(b"meta", bytes(4) + make(b"ilst", b"".join(items))))
        found.append(make(b"ftyp", b"M4A ") + make(b"moov", inner))
    # The performer comes before the composer.
    return [*found, keyed, texts, authors]


def _read_meta(source: Source, meta: Box, keyed: Pairs, items: list[bytes]) -> None:
    # ISO's box has a version before its children, QuickTime's has not.
    skipped = 0 if source.read(meta.start + 4, 4) == b"hdlr" else 4
    inside = Box(b"meta", meta.start + skipped, meta.end)
    listed = child(source, inside, b"ilst")
    if listed is None:
        return
    if payload(source, child(source, inside, b"hdlr"), 12)[8:12] == b"mdta":
        keyed += _keyed(source, listed, _keys(payload(source, child(source, inside, b"keys"))))
        return
    room = LARGEST_TEXT - sum(map(len, items))
    for item in boxes(source, listed.start, listed.end):
        if item.name != b"covr" and item.end - item.start <= room:
            items.append(make(item.name, _in_utf_8(payload(source, item, LARGEST_TEXT))))
            room -= len(items[-1])


def _in_utf_8(item: bytes) -> bytes:
    """The boxes of an item, its texts in UTF-8: mutagen leaves out those in UTF-16, or only said UTF-8."""
    source, parts = Memory(0, item), []
    for box in boxes(source, 0, len(item)):
        data = source.read(box.start, box.end - box.start)
        if box.name == b"data" and number(data, 0) in (_UTF_8, _UTF_16):
            data = _UTF_8.to_bytes(4, "big") + data[4:8] + _value(data).encode("utf-8", "replace")
        parts.append(make(box.name, data))
    return b"".join(parts)


def _keys(data: bytes) -> list[str]:
    keys: list[str] = []
    at = 8
    while at + 8 <= len(data) and len(keys) < _MOST_KEYS:
        size = number(data, at)
        if size < 8:
            break
        keys.append(decode(data[at + 8 : at + size]))
        at += size
    return keys


def _keyed(source: Source, listed: Box, keys: list[str]) -> Iterator[tuple[str, str]]:
    room = LARGEST_TEXT
    for item in boxes(source, listed.start, listed.end):
        index = int.from_bytes(item.name, "big")
        if not 0 < index <= len(keys):
            continue
        for data in boxes(source, item.start, item.end):
            if data.name != b"data" or data.end - data.start > room:
                continue
            value = _value(payload(source, data, _LONGEST_TEXT + 8))
            room -= len(value)
            name = keys[index - 1].removeprefix("com.apple.quicktime.")
            yield MP4_KEYS.get(name, name), value


def _value(data: bytes) -> str:
    """ "QuickTime File Format", Type Indicator."""
    kind, raw = number(data, 0) & 0xFFFFFF, data[8:]
    if kind == _UTF_8:
        return decode(raw, cut=len(raw) == _LONGEST_TEXT)
    if kind == _UTF_16:
        return decode_utf_16(raw, said_big=True)
    if kind in (_SIGNED, _UNSIGNED) and len(raw) <= 8:
        return str(int.from_bytes(raw, "big", signed=kind == _SIGNED))
    if (kind, len(raw)) in ((_FLOAT_32, 4), (_FLOAT_64, 8)):
        return f"{struct.unpack('>f' if len(raw) == 4 else '>d', raw)[0]:g}"
    return ""


def _quicktime_texts(name: bytes, data: bytes) -> Iterator[tuple[str, str]]:
    """One text for each language."""
    known = name.decode("latin-1")
    at = 0
    while at + 4 < len(data):
        size, language = number(data, at, 2), number(data, at + 2, 2)
        raw = data[at + 4 : at + 4 + size]
        if raw[:2] in UTF_16_MARKS:
            text = raw.decode("utf-16", "replace")
        elif language < _FIRST_ISO_LANGUAGE or language == 0x7FFF:
            text = decode(raw, _ENCODINGS.get(language, "mac_roman"))
        else:
            text = decode(raw)
        yield MP4.get(known, known[1:]), text
        at += 4 + size


def _three_gpp_texts(known: str, name: bytes, data: bytes) -> Iterator[tuple[str, str]]:
    if name == b"yrrc":
        yield known, str(number(data, 4, 2))
        return
    raw = data[6:]
    if name == b"kywd":
        at = 1
        for _ in range(number(raw, 0, 1)):
            size = number(raw, at, 1)
            yield known, _three_gpp_text(raw[at + 1 : at + 1 + size])
            at += 1 + size
        return
    text, end = _terminated(raw)
    yield known, _three_gpp_text(text)
    if name == b"albm" and len(raw) > end:
        yield "tracknumber", str(raw[end])


def _terminated(raw: bytes) -> tuple[bytes, int]:
    """The text, and where what follows its zero begins."""
    if raw[:2] in UTF_16_MARKS:
        end = next((at for at in range(2, len(raw) - 1, 2) if raw[at : at + 2] == b"\0\0"), len(raw))
        return raw[:end], end + 2
    end = raw.find(b"\0")
    return (raw[:end], end + 1) if end >= 0 else (raw, len(raw))


def _three_gpp_text(raw: bytes) -> str:
    return raw.decode("utf-16", "replace") if raw[:2] in UTF_16_MARKS else decode(raw)
