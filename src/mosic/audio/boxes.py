"""The boxes of ISO base media files (ISO/IEC 14496-12 §4.2), and the numbers in them."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from mosic.audio.source import Readable

MOST_CHILDREN = 4096
LARGEST_BOX = 1 << 20


class Box(NamedTuple):
    """A box and where its payload lies; `end` is never beyond that of the box around it."""

    name: bytes
    start: int
    end: int
    whole: bool = True


def boxes(source: Readable, start: int, end: int, most: int = MOST_CHILDREN) -> Iterator[Box]:
    """The consecutive boxes in `[start, end)`, as far as their sizes are valid."""
    at = start
    for _ in range(most):
        header = source.read(at, min(16, end - at))
        if len(header) < 8:
            return
        length, begin = int.from_bytes(header[:4], "big"), at + 8
        if length == 1:
            length, begin = int.from_bytes(header[8:16], "big"), at + 16
        elif length == 0:
            length = end - at
        if length < begin - at:
            return
        following = at + length
        yield Box(header[4:8], begin, following if following < end else end, following <= end)
        at = following


def child(source: Readable, box: Box | None, *names: bytes) -> Box | None:
    """The first box below `box` on the path of `names`."""
    for name in names:
        if box is None:
            return None
        box = next((inner for inner in boxes(source, box.start, box.end) if inner.name == name), None)
    return box


def payload(source: Readable, box: Box | None, largest: int = LARGEST_BOX) -> bytes:
    return source.read(box.start, min(box.end - box.start, largest)) if box else b""


def number(data: bytes, at: int, size: int = 4) -> int:
    """A big-endian number; bytes beyond the end of the data are left out."""
    return int.from_bytes(data[at : at + size], "big")


def words(data: bytes) -> array[int]:
    """All the whole 32-bit numbers in the data."""
    found = array("I", data[: len(data) // 4 * 4])
    if sys.byteorder == "little":
        found.byteswap()
    return found


def make(name: bytes, content: bytes) -> bytes:
    return (len(content) + 8).to_bytes(4, "big") + name + content
