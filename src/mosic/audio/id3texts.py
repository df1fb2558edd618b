"""The texts of ID3, decoded as taggers really wrote them, and passed on as UTF-8.

By the standards a text is Latin-1 or UTF-16 with a byte order mark. Taggers write what Windows calls Latin-1,
or UTF-8, and say Latin-1; and they leave the mark out. https://id3.org/id3v2.4.0-frames, https://id3.org/ID3v1
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping

from mosic.audio.source import Pairs
from mosic.audio.texts import UTF_16_MARKS, decode, decode_utf_16

_LATIN_1, _UTF_16, _UTF_16_BE, _UTF_8 = range(4)
_LARGEST_TEXT = 1 << 20
_FOUR_DIGITS = re.compile(r"[0-9]{4}")
_IN_A_LANGUAGE = (b"COM", b"USL", b"ULT")
_OWN_LINK = b"WXX"
_DATES = {
    b"TDRC": "date", b"TDRL": "releasedate", b"TDOR": "originaldate", b"TORY": "originaldate",
    b"TOR": "originaldate",
}  # fmt: skip
_YEAR, _DAY, _TIME = (b"TYER", b"TYE"), (b"TDAT", b"TDA"), (b"TIME", b"TIM")
DATE_FRAMES = (*_DATES, *_YEAR, *_DAY, *_TIME)


def reformed(name: bytes, content: bytes) -> bytes:
    """The content of a text frame with its texts in UTF-8; that of other frames unchanged."""
    is_link = name.startswith(b"W") and not name.startswith(_OWN_LINK)
    if is_link or name.startswith(b"UFI") or not content:
        return content
    if content[0] > _UTF_8:
        # Some leave out the byte for the encoding; a letter of the text stands in its place.
        return bytes([_UTF_8]) + decode(content).encode() if content[0] >= ord(" ") else content
    encoding, at = content[0], 4 if name.startswith(_IN_A_LANGUAGE) else 1
    texts = _texts(content[at:], encoding)
    if name.startswith(_OWN_LINK) and len(texts) > 1:
        # Its description is in the encoding, the link itself in Latin-1.
        begins = len(content) - len(content[at:]) + text_end(content[at:], encoding)
        texts = [texts[0], decode(content[begins:])]
    return bytes([_UTF_8]) + content[1:at] + b"\0".join(text.encode("utf-8", "replace") for text in texts)


def dates(frames: Mapping[bytes, bytes]) -> Pairs:
    """What the frames of `DATE_FRAMES` say, by their contents out of `reformed`. As it stands: mutagen takes
    the numbers out of it, and «31.12.2019» for the year 31."""
    pairs = [
        (name, text)
        for frame, name in _DATES.items()
        if frame in frames
        for text in frames[frame][1:].decode("utf-8", "replace").split("\0")
    ]
    year, day, time = (
        next(
            (frames[name][1:].decode("utf-8", "replace").strip("\0 ") for name in names if name in frames), ""
        )
        for names in (_YEAR, _DAY, _TIME)
    )
    if year and not any(name == "date" for name, _ in pairs):
        if _FOUR_DIGITS.fullmatch(year) and _FOUR_DIGITS.fullmatch(day):
            year = f"{year}-{day[2:]}-{day[:2]}"
            if _FOUR_DIGITS.fullmatch(time):
                year = f"{year} {time[:2]}:{time[2:]}"
        pairs.append(("date", year))
    return pairs


def _texts(raw: bytes, encoding: int) -> list[str]:
    if encoding in (_LATIN_1, _UTF_8) and raw[:2] not in UTF_16_MARKS:
        return [decode(text) for text in raw.split(b"\0")]
    found = []
    said_big = encoding == _UTF_16_BE
    while raw:
        end = text_end(raw, _UTF_16)
        text = raw[:end].removesuffix(b"\0\0") if end <= len(raw) and end % 2 == 0 else raw[:end]
        found.append(decode_utf_16(text, said_big=said_big))
        raw = raw[end:]
    return found


def text_end(raw: bytes, encoding: int) -> int:
    """Where the text that begins here and its terminating zero end."""
    if encoding in (_LATIN_1, _UTF_8):
        at = raw.find(b"\0")
        return at + 1 if at >= 0 else len(raw)
    at = raw.find(b"\0\0")
    while at >= 0 and at % 2:
        at = raw.find(b"\0\0", at + 1)
    return at + 2 if at >= 0 else len(raw)


def unwrapped(version: int, flags: int, content: bytes, *, unsynchronised: bool, room: int) -> bytes | None:
    """What a frame with these flags holds (the second byte of them); None when it is encrypted, damaged or
    would grow beyond `room` bytes."""
    compressed, encrypted, grouped = (0x80, 0x40, 0x20) if version == 3 else (0x08, 0x04, 0x40)
    if flags & encrypted:
        return None
    if version == 4 and (flags & 0x02 or unsynchronised):
        content = content.replace(b"\xff\x00", b"\xff")
    if version == 3 and flags & compressed:
        content = content[4:]
    if flags & grouped:
        content = content[1:]
    if version == 4 and flags & 0x01:
        content = content[4:]
    if flags & compressed:
        inflating = zlib.decompressobj()
        try:
            content = inflating.decompress(content, min(room, _LARGEST_TEXT))
        except zlib.error:
            return None
        return None if inflating.unconsumed_tail else content
    return content


def version_1(tag: bytes) -> Pairs:
    """The 128 bytes of an ID3v1 or ID3v1.1 tag; its genre is a number."""
    pairs = [
        (name, _field(tag[start:end]))
        for name, start, end in (("title", 3, 33), ("artist", 33, 63), ("album", 63, 93), ("date", 93, 97))
    ]
    if tag[125] == 0 and tag[126]:
        return [*pairs, ("comment", _field(tag[97:125])), ("tracknumber", str(tag[126]))]
    return [*pairs, ("comment", _field(tag[97:127]))]


def _field(raw: bytes) -> str:
    # A full field may end within a character.
    return decode(raw.partition(b"\0")[0].rstrip(), cut=b"\0" not in raw)
