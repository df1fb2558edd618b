"""Files made of chunks, each with a name and a size: RIFF, IFF and Sony's Wave64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mosic.audio.source import Source

Order = Literal["little", "big"]
MOST_CHUNKS = 4096
LONGEST_TEXT = 64 << 10
_WHOLE_NAME, _WHOLE_HEADER, _ALIGNMENT = 16, 24, 8


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk and where its data lies; `end` is never beyond that of the enclosing chunk."""

    name: bytes
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


def chunks(
    source: Source, start: int, end: int, order: Order, *, data_size: int = 0, most: int = MOST_CHUNKS
) -> Iterator[Chunk]:
    """The chunks that follow one another in `[start, end)`.

    A recorder that wrote to a pipe or was cut off leaves 0 or the largest number as the size of `data`: then
    it is all the rest, unless RF64 says the size elsewhere (`data_size`).
    """
    at = start
    for _ in range(most):
        header = source.read(at, min(8, end - at))
        if len(header) < 8:
            return
        size = int.from_bytes(header[4:], order)
        if header[:4] == b"data" and size in (0, 0xFFFFFFFF):
            size = data_size or end - at - 8
        yield Chunk(header[:4], at + 8, min(at + 8 + size, end))
        at += 8 + size + (size % 2 and _padding(source, at + 8 + size, end, order))


def _padding(source: Source, at: int, end: int, order: Order) -> int:
    """Whether a padding byte stands at `at`. It must follow a chunk of odd size; some leave it out."""
    found = source.read(at, min(9, end - at))
    plausible = [
        len(header) == 8
        and header[:4].isascii()
        and header[:4].decode("ascii").isprintable()
        and int.from_bytes(header[4:], order) <= end - at
        for header in (found[:8], found[1:])
    ]
    return 0 if found[:1] != b"\0" and plausible == [True, False] else 1


def wave64_chunks(source: Source, start: int, end: int, *, most: int = MOST_CHUNKS) -> Iterator[Chunk]:
    """The chunks of Wave64, by the first four letters of their GUIDs. A size includes the header."""
    at = start
    for _ in range(most):
        header = source.read(at, min(_WHOLE_HEADER, end - at))
        if len(header) < _WHOLE_HEADER:
            return
        size = int.from_bytes(header[_WHOLE_NAME:], "little")
        if header.startswith(b"data") and size in (0, _WHOLE_HEADER, (1 << 64) - 1, (1 << 63) - 1):
            size = end - at
        if size < _WHOLE_HEADER:
            return
        yield Chunk(header[:4], at + _WHOLE_HEADER, min(at + size, end))
        at += -(-size // _ALIGNMENT) * _ALIGNMENT


def text_of(source: Source, chunk: Chunk) -> bytes:
    """The text in a chunk, which may end in a zero."""
    return source.read(chunk.start, min(chunk.size, LONGEST_TEXT)).partition(b"\0")[0]
