"""Vorbis comments, the tags of FLAC and Ogg: name=value pairs (https://xiph.org/vorbis/doc/v-comment.html)."""

from __future__ import annotations

from mosic.audio.source import LARGEST_TEXT, Forward, Pairs
from mosic.audio.texts import decode

_LONGEST = 64 * 1024 + 128
_LONGEST_NAME = 128
_MOST = 10_000


def read_comments(data: Forward) -> Pairs:
    """The pairs in order, as far as the data goes. Of a very long value only the beginning is read.

    Pictures are kept as comments by some programs (METADATA_BLOCK_PICTURE); they are passed over unread.
    """
    pairs: Pairs = []
    room = LARGEST_TEXT
    data.skip(_number(data) or 0)
    for _ in range(min(_number(data) or 0, _MOST)):
        length = _number(data)
        if length is None:
            break
        comment = data.read(min(length, _LONGEST_NAME))
        name, separator, _ = comment.partition(b"=")
        if separator and b"PICTURE" not in name.upper() and room > 0:
            comment += data.read(min(length, _LONGEST) - len(comment))
            room -= len(comment)
            pairs.append(
                (name.decode(errors="replace"), decode(comment[len(name) + 1 :], cut=len(comment) < length))
            )
        data.skip(length - len(comment))
    return pairs


def _number(data: Forward) -> int | None:
    raw = data.read(4)
    return int.from_bytes(raw, "little") if len(raw) == 4 else None
