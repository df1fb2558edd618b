"""The elements of EBML (RFC 8794), of which Matroska is made, and the values in them."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mosic.audio.source import Readable
from mosic.audio.texts import decode

_MOST_CHILDREN = 4096
_LONGEST_STRING = 64 << 10


@dataclass(frozen=True, slots=True)
class Element:
    """An element and where its data lies; `whole` unless its size is unknown or more than there is."""

    kind: int
    start: int
    end: int
    whole: bool


def element_at(source: Readable, at: int, end: int) -> Element | None:
    header = source.read(at, min(12, end - at))
    if not header or not header[0] >= 0x10:
        return None
    width = 9 - header[0].bit_length()
    kind = int.from_bytes(header[:width], "big")
    if len(header) <= width or header[width] == 0:
        return None
    size, size_width = variable(header, width)
    begin = at + width + size_width
    unknown = size == (1 << 7 * size_width) - 1
    return Element(
        kind, begin, end if unknown else min(begin + size, end), not unknown and begin + size <= end
    )


def variable(data: bytes, at: int) -> tuple[int, int]:
    """A number whose leading zero bits tell its width, and that width."""
    width = 9 - data[at].bit_length()
    return int.from_bytes(data[at : at + width], "big") & (1 << 7 * width) - 1, width


def children(source: Readable, parent: Element) -> Iterator[Element]:
    at = parent.start
    for _ in range(_MOST_CHILDREN):
        element = element_at(source, at, parent.end)
        if element is None:
            return
        yield element
        at = element.end


def child(source: Readable, parent: Element | None, kind: int) -> Element | None:
    within = children(source, parent) if parent else ()
    return next((element for element in within if element.kind == kind), None)


def number(source: Readable, element: Element | None) -> int:
    return (
        int.from_bytes(source.read(element.start, min(element.end - element.start, 8)), "big")
        if element
        else 0
    )


def real(source: Readable, element: Element | None) -> float:
    data = source.read(element.start, min(element.end - element.start, 8)) if element else b""
    value: float = struct.unpack(">f" if len(data) == 4 else ">d", data)[0] if len(data) in (4, 8) else 0.0
    return value if math.isfinite(value) and 0 < value < 1e15 else 0.0


def text(source: Readable, element: Element | None) -> str:
    data = source.read(element.start, min(element.end - element.start, _LONGEST_STRING)) if element else b""
    return decode(data, cut=len(data) == _LONGEST_STRING).rstrip("\0")
