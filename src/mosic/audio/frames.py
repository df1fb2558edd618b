"""Sound without a container: frames, each with a header that says how long it is, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mosic.audio.source import Source

# Random bytes hold a header that could be one every few thousand bytes. That three more follow, each where
# the one before ends and all of one kind, does not happen by chance.
_FRAMES_FOR_CERTAIN = 4
_CHUNK = 1 << 20
# What lies beyond is taken to be like what came before: to read gigabytes would cost seconds.
_WALK_LIMIT = 512 << 20


@dataclass(frozen=True, slots=True)
class Syntax:
    """How to tell the frames of one format.

    `parse(data, at)` gives the kind and the length in bytes of the frame whose header stands at `at`, or
    None; the kind is what stays the same through a stream. It is only asked where `header` bytes are there.
    """

    sync: bytes
    header: int
    parse: Callable[[bytes, int], tuple[int, int] | None]

    def find(self, data: bytes, *, ends: bool) -> int | None:
        """Offset of the first frame in `data` that is one beyond doubt, or None.

        At the very beginning of all there is (`ends`), fewer frames are enough if they fill it exactly.
        """
        at = data.find(self.sync)
        while 0 <= at <= len(data) - self.header:
            if self._begins(data, at, exact_end=ends and at == 0):
                return at
            at = data.find(self.sync, at + 1)
        return None

    def _begins(self, data: bytes, at: int, *, exact_end: bool) -> bool:
        first = None
        for _ in range(_FRAMES_FOR_CERTAIN):
            found = self.parse(data, at) if at <= len(data) - self.header else None
            if found is None or (first is not None and found[0] != first):
                return False
            first = found[0]
            at += found[1]
            if exact_end and at == len(data):
                return True
        return True

    def walk(self, source: Source, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """The whole frames in `[start, end)`, as a chunk of bytes, the frame's place in it, and its length.

        The first stands at `start` and decides the kind. Damage is stepped over to where two frames follow
        each other again. Ends early in a very large file: see `scale`.
        """
        parse, kind = self.parse, None
        offset, stop = start, min(end, start + _WALK_LIMIT)
        while offset < stop:
            chunk = source.read(offset, min(_CHUNK, stop - offset))
            at, last = 0, len(chunk) - self.header
            if last < 0:
                return
            while at <= last:
                found = parse(chunk, at)
                if found is None or (kind is not None and found[0] != kind):
                    at = self._resume(chunk, at + 1, kind)
                    continue
                kind, length = found
                if offset + at + length > stop:
                    return
                yield chunk, at, length
                at += length
            offset += at

    def _resume(self, chunk: bytes, at: int, kind: int | None) -> int:
        """Where two frames of the kind follow each other, or from where to go on reading."""
        last = len(chunk) - self.header
        at = chunk.find(self.sync, at)
        while 0 <= at <= last:
            found = self.parse(chunk, at)
            if found is not None and found[0] == kind and at + found[1] <= last:
                after = self.parse(chunk, at + found[1])
                if after is not None and after[0] == kind:
                    return at
            at = chunk.find(self.sync, at + 1)
        return last + 1


def scale(count: int, start: int, end: int) -> int:
    """What was counted by `walk`, carried over to all of `[start, end)`."""
    return count * (end - start) // _WALK_LIMIT if end - start > _WALK_LIMIT else count
