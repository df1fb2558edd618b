"""Reading a file of unknown content: any offset, never more bytes than asked for or than there are."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Source:
    """A regular file opened for reading. `size` is what it had when opened; reads beyond it are short."""

    descriptor: int
    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes at `offset`; fewer, or none, where the file ends."""
        length = min(length, self.size - offset)
        return os.pread(self.descriptor, length, offset) if length > 0 else b""


class Forward:
    """The bytes of some stretches of a source, one after the other; at the end both calls do less."""

    def __init__(self, source: Source, stretches: Iterable[tuple[int, int]]) -> None:
        self._source = source
        self._left = iter(stretches)
        self._at = self._end = 0

    def read(self, length: int) -> bytes:
        parts = []
        while length > 0 and self._advance():
            part = self._source.read(self._at, min(length, self._end - self._at))
            if not part:
                break
            parts.append(part)
            self._at += len(part)
            length -= len(part)
        return b"".join(parts)

    def skip(self, length: int) -> None:
        while length > 0 and self._advance():
            step = min(length, self._end - self._at)
            self._at += step
            length -= step

    def _advance(self) -> bool:
        while self._at >= self._end:
            stretch = next(self._left, None)
            if stretch is None:
                return False
            self._at, self._end = stretch
        return True


LARGEST_TEXT = 4 << 20
"""Bytes of text tags that are read from one file, about; a cover is no text."""

Pairs: TypeAlias = list[tuple[str, str]]
"""Tags that a reader understood itself: name and value, in the order of the file."""


@dataclass(frozen=True, slots=True)
class Sound:
    """What the reader of one format found: facts, and the tags, those first that are believed most.

    A block among the tags is for mutagen: an ID3v2 or ID3v1 tag or a reduced MP4 file, without pictures.
    """

    media_type: str
    codec: str
    duration: float | None = None
    bitrate: int | None = None
    sample_rate: int | None = None
    channels: int | None = None
    tags: list[Pairs | bytes] = field(default_factory=list)
