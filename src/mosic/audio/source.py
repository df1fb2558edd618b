"""Reading a file of unknown content: any offset, never more bytes than asked for or than there are."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol, TypeAlias

from mosic.wire.chapters import Chapter

_LARGEST_READ = 1 << 20


class Readable(Protocol):
    """A file, or a part of one in memory: `read` gives fewer bytes where there are no more."""

    def read(self, offset: int, length: int) -> bytes: ...


class Memory:
    """A stretch of a file that was read at once. Offsets are those in the file."""

    def __init__(self, start: int, data: bytes) -> None:
        self._start, self._data = start, data

    def read(self, offset: int, length: int) -> bytes:
        at = offset - self._start
        return self._data[at : at + length]


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
    """The bytes of several stretches of a source, in order; at the end `read` and `skip` do less."""

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


class FewReads:
    """A file for readers that are not ours. It ends after so many reads, and none gives more than a mebibyte:
    a file of nothing but headers, or of one that claims all, costs no more than that."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._left = file, most

    def read(self, size: int = -1) -> bytes:
        self._left -= 1
        most = _LARGEST_READ if size < 0 else min(size, _LARGEST_READ)
        return self._file.read(most) if self._left >= 0 else b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


class FewLooks:
    """The same for our own readers, whose reads beyond the limit are empty. Only for what may be left
    out, such as tags: where something is counted, a limit must end in an estimate."""

    def __init__(self, source: Readable, most: int) -> None:
        self._source, self._left = source, most

    @property
    def are_used_up(self) -> bool:
        return self._left <= 0

    def read(self, offset: int, length: int) -> bytes:
        self._left -= 1
        return self._source.read(offset, length) if self._left >= 0 else b""


def most_units(size: int, most: int) -> int:
    """How many pages, blocks or elements of a file of `size` bytes are read: enough for the smallest that
    real encoders make, and with a processor time in proportion to the size."""
    return min(most, 10_000 + size // 128)


LARGEST_TEXT = 4 << 20
"""About how many bytes of text tags are read from one file; covers do not count."""

Pairs: TypeAlias = list[tuple[str, str]]
"""Tags that a reader has parsed itself: name and value, in the order of the file."""


@dataclass(frozen=True, slots=True)
class Sound:
    """What the reader of one format found: facts, and tags, the most trusted first.

    A block among the tags is for mutagen: an ID3v2 or ID3v1 tag or a reduced MP4 file, without pictures.
    """

    media_type: str
    codec: str
    duration: float | None = None
    bitrate: int | None = None
    sample_rate: int | None = None
    channels: int | None = None
    tags: list[Pairs | bytes] = field(default_factory=list)
    chapters: list[Chapter] = field(default_factory=list)
    """In any order, with any times."""
