"""Sound without a container: consecutive frames, each with a header that tells its length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mosic.audio.source import Readable

# Random bytes hold a header that could be one every few thousand bytes. That three more follow, each where
# the one before ends and all of one kind, does not happen by chance.
_FRAMES_FOR_CERTAIN = 4
_CHUNK = 1 << 20
# Bytes beyond are estimated from those before: reading gigabytes would cost seconds.
WALK_LIMIT = 512 << 20


@dataclass(frozen=True, slots=True)
class Syntax:
    """How to recognise the frames of one format.

    `parse(data, at)` gives the kind and the length in bytes of the frame whose header stands at `at`, or
    None; the kind is what stays the same through a stream. It is only asked where `header` bytes are there.
    """

    sync: bytes
    header: int
    parse: Callable[[bytes, int], tuple[int, int] | None]

    def find(self, data: bytes, *, ends: bool) -> int | None:
        """Offset of the first certain frame in `data`, or None.

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

    def walk(
        self, source: Readable, start: int, end: int, limit: int = WALK_LIMIT
    ) -> Iterator[tuple[bytes, int, int]]:
        """The whole frames in `[start, end)`, as a chunk of bytes, the frame's place in it, and its length.

        The first stands at `start`. Damage is stepped over to where two frames of one kind follow each other
        again; there the kind may be another one, as where two streams were joined. Ends after `limit` bytes:
        see `scale`.
        """
        parse, kind = self.parse, None
        offset, stop = start, min(end, start + limit)
        while offset < stop:
            chunk = source.read(offset, min(_CHUNK, stop - offset))
            at, last = 0, len(chunk) - self.header
            if last < 0:
                return
            while at <= last:
                found = parse(chunk, at)
                if found is None:
                    at = self._resume(chunk, at + 1)
                    continue
                if found[0] != kind and kind is not None:
                    if at and at + found[1] > last and offset + len(chunk) < stop:
                        break  # to see what follows it, in the next chunk
                    if not self._repeats(chunk, at, found):
                        at = self._resume(chunk, at + 1)
                        continue
                kind, length = found
                if offset + at + length > stop:
                    return
                yield chunk, at, length
                at += length
            offset += at

    def _resume(self, chunk: bytes, at: int) -> int:
        """Where two frames of one kind follow each other, or where to continue reading."""
        last = len(chunk) - self.header
        at = chunk.find(self.sync, at)
        while 0 <= at <= last:
            found = self.parse(chunk, at)
            if found is not None and self._repeats(chunk, at, found):
                return at
            at = chunk.find(self.sync, at + 1)
        return last + 1

    def _repeats(self, chunk: bytes, at: int, found: tuple[int, int]) -> bool:
        following = at + found[1]
        after = self.parse(chunk, following) if following <= len(chunk) - self.header else None
        return after is not None and after[0] == found[0]


def scale(total: float, start: int, end: int, limit: int = WALK_LIMIT) -> float:
    """The count of `walk`, extrapolated to all of `[start, end)`."""
    return total * (end - start) / limit if end - start > limit else total
