"""Small recipes for files that are made to cost a reader dearly."""

from __future__ import annotations

import zlib

from tests.audio.made import frames, id3_tag

MEBIBYTE = 1 << 20
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
SONG = b"TIT2\0\0\0\5\0\0\0Song"


def box(name: bytes, payload: bytes = b"") -> bytes:
    return (len(payload) + 8).to_bytes(4, "big") + name + payload


def _compressed(name: bytes, size: int) -> bytes:
    """An ID3v2.3 frame that grows to `size`."""
    text = zlib.compress(bytes(size), 9)
    return name + (len(text) + 4).to_bytes(4, "big") + b"\0\x80" + size.to_bytes(4, "big") + text


def _nested(depth: int) -> bytes:
    """Boxes in boxes, each the whole content of the one around it."""
    return b"".join((8 * level).to_bytes(4, "big") + b"moov" for level in range(depth, 0, -1))


def _page(flags: int, lacing: bytes, data: bytes = b"") -> bytes:
    return (
        b"OggS\0" + bytes([flags]) + bytes(8) + b"\1\0\0\0" + bytes(8) + bytes([len(lacing)]) + lacing + data
    )


_M4A = box(b"ftyp", b"M4A ")
_OPUS = _page(2, bytes([19]), b"OpusHead\1\2\0\0\x80\xbb\0\0\0\0\0")
_SEGMENT = b"\x1aE\xdf\xa3\x80\x18\x53\x80\x67\x01" + b"\xff" * 7
_FLAC_INFO = b"\x10\0\x10\0" + bytes(6) + b"\x0a\xc4\x42\xf0" + bytes(20)

SOUND_WITH_BOMB = {
    "a compressed frame": id3_tag(_compressed(b"TIT2", 64 * MEBIBYTE)) + frames(),
    "many compressed frames": id3_tag(_compressed(b"TXXX", 8 * MEBIBYTE) * 400) + frames(),
    "many small frames": id3_tag(b"TXXX\0\0\0\5\0\0\0a\0bc" * 100_000) + frames(),
    "tags upon tags": id3_tag(SONG * 1000) * 200 + frames(),
}
BOMBS = {
    **SOUND_WITH_BOMB,
    "a frame that claims all": id3_tag(b"TIT2\xff\xff\xff\xff\0\0" + bytes(100)) + frames(),
    "many boxes": _M4A + box(b"free") * 1_000_000,
    "many boxes in one": _M4A + box(b"moov", box(b"free") * 1_000_000),
    "many tracks": _M4A + box(b"moov", box(b"trak", box(b"mdia")) * 100_000),
    "boxes in boxes": _M4A + _nested(100_000),
    "a box that claims all": _M4A + b"\0\0\0\1moov" + b"\xff" * 8 + bytes(100),
    "a box of no size in a box": _M4A + box(b"moov", bytes(4) + b"trak"),
    "a header that claims all": ASF_HEADER + b"\xff" * 7 + b"\x7f" + b"\xff\xff\xff\xff\1\2" + bytes(100),
    "objects that claim all": ASF_HEADER
    + (200).to_bytes(8, "little")
    + b"\xff\xff\xff\xff\1\2"
    + (ASF_PROPERTIES + b"\xff" * 7 + b"\x7f") * 4,
    "objects of no size": ASF_HEADER + (4096).to_bytes(8, "little") + b"\xff\xff\xff\xff\1\2" + bytes(5000),
    "pages without end": _OPUS + _page(0, b"\0") * 300_000,
    "a comment without end": _OPUS + _page(1, b"\xff" * 255, b"O" * 65025) * 300,
    "comments without end": b"fLaC\0\0\0\x22" + _FLAC_INFO + b"\x84\0\0\x0c" + bytes(4) + b"\xff" * 8,
    "blocks without end": _SEGMENT + b"\xa3\x80" * 1_000_000,
    "clusters without end": _SEGMENT + b"\x1f\x43\xb6\x75\xff" * 300_000,
    "an element that claims all": _SEGMENT + b"\x16\x54\xae\x6b\x01" + b"\xfe" * 7,
    "a packet shorter than its header": b"MPCKAA\0" + bytes(100),
    "chunks of no size": b"RIFF\xff\xff\xff\xffWAVE" + b"LIST\0\0\0\0" * 300_000,
    "lists in lists": b"RIFF\xff\xff\xff\xffWAVE" + b"LIST\xff\xff\xff\x7fINFO" * 100_000,
}
