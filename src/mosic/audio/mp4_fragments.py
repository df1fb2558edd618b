"""Movie fragments (ISO/IEC 14496-12 §8.8): what browsers record, and what streaming sends piece by piece.

What indexes announce (`mehd`, `sidx`, `mfra`) is not asked: recorders do not go back to write it, and a part
that was cut from a broadcast keeps that of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mosic.audio.boxes import Box, boxes, child, number, payload, words
from mosic.audio.source import Memory, Readable, Source

MOST_FRAGMENTS = 50_000
_LARGEST_IN_MEMORY = 64 << 10
_MOST_RUNS = 200_000
_CHUNK = 1 << 20
_LARGEST_RUN = 64 << 20
_TAILS = (64 << 10, 1 << 20, 8 << 20)
# Between what the index holds and the first fragment.
_LONGEST_GAP_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Defaults:
    """Of a sample in a fragment that does not say so itself."""

    length: int = 0
    size: int = 0


@dataclass(slots=True)
class _Stretch:
    """Fragments with consecutive times, in the timescale of the track."""

    first: int
    end: int
    played: int = 0

    @property
    def length(self) -> int:
        """With gaps, which are heard as silence; never less than all runs together."""
        return max(self.end - self.first, self.played)


@dataclass(slots=True)
class Timeline:
    """The fragments of one track, added in the order of the file."""

    source: Source
    end: int
    track: int
    timescale: int
    defaults: Defaults
    size: int = 0
    """Bytes of all samples."""
    count: int = 0
    _done: int = 0
    _now: _Stretch | None = None
    _timed: bool = field(default=False)

    def begin(self, length: int) -> None:
        """The index itself holds samples of that length; the fragments continue from there."""
        if length:
            self._now = _Stretch(0, length, length)

    @property
    def first(self) -> int:
        """Where the sound begins on the track's own clock: far from 0 in what was cut from a broadcast."""
        return self._now.first if self._now and not self._done else 0

    @property
    def length(self) -> int:
        return self._done + (self._now.length if self._now else 0)

    def add(self, moof: Box) -> None:
        for at, length, size in self._tracks(moof):
            self.count += 1
            self.size += size
            now = self._now
            if now is None:
                self._now = _Stretch(at or 0, (at or 0) + length, length)
                self._timed = at is not None
                continue
            begins = now.end if at is None else at
            if self._starts_anew(now, begins):
                self._done += now.length
                self._now = _Stretch(begins, begins + length, length)
            else:
                now.end = max(now.end, begins + length)
                now.played += length
                self._timed = self._timed or at is not None

    def _starts_anew(self, now: _Stretch, begins: int) -> bool:
        if begins < now.end and begins <= now.first:
            return True
        return self.count == 1 and begins - now.end > _LONGEST_GAP_SECONDS * self.timescale

    def extrapolate(self, start: int, walked_to: int) -> None:
        """Fragments were added up to `walked_to`; account for all that follow."""
        now, walked = self._now, walked_to - start
        if now is None or walked <= 0:
            return
        estimate = self.length * (self.end - start) // walked
        self.size = self.size * (self.end - start) // walked
        last = self._last_end() if self._timed and not self._done else None
        total = last - now.first if last is not None else 0
        # The clock may have been set back on the way, or stand still.
        self._done = total if estimate / 2 < total < estimate * 2 else estimate
        self._now = None

    def _last_end(self) -> int | None:
        """Where the last fragment of the track ends on its clock, looked for from the end of the file."""
        for size in _TAILS:
            offset = max(self.end - size, 0)
            data = self.source.read(offset, self.end - offset)
            at = data.rfind(b"moof")
            while at >= 4:
                begin = offset + at - 4
                box = next(boxes(self.source, begin, self.end, 1), None)
                if box and data[at + 8 : at + 12] == b"mfhd":
                    ends = [time + length for time, length, _ in self._tracks(box) if time is not None]
                    if ends:
                        return max(ends)
                at = data.rfind(b"moof", 0, at)
            if offset == 0:
                break
        return None

    def _tracks(self, moof: Box) -> list[tuple[int | None, int, int]]:
        """Time, length and bytes of each part that the fragment has for the track."""
        source: Readable = self.source
        if moof.end - moof.start <= _LARGEST_IN_MEMORY:
            source = Memory(moof.start, source.read(moof.start, moof.end - moof.start))
        found = []
        for traf in boxes(source, moof.start, moof.end):
            header = payload(source, child(source, traf, b"tfhd"), 40) if traf.name == b"traf" else b""
            if len(header) < 8 or number(header, 4) != self.track:
                continue
            flags, at = number(header, 1, 3), 8
            base = number(header, at, 8) if flags & 1 else moof.start - 8
            at += 8 * (flags & 1) + 4 * (flags >> 1 & 1)
            length = number(header, at) if flags & 8 else self.defaults.length
            at += 4 * (flags >> 3 & 1)
            size = number(header, at) if flags & 16 else self.defaults.size
            found.append(self._runs(source, traf, base, Defaults(length, size)))
        return found

    def _runs(
        self, source: Readable, traf: Box, base: int, defaults: Defaults
    ) -> tuple[int | None, int, int]:
        time, length, size, position = None, 0, 0, base
        for count, box in enumerate(boxes(source, traf.start, traf.end, _MOST_RUNS), 1):
            if box.name == b"tfdt":
                data = payload(source, box, 12)
                time = number(data, 4, 8 if data[:1] == b"\1" else 4)
            elif box.name == b"trun":
                run = _Run.read(source, box, defaults)
                position = position if run.offset is None else base + run.offset
                within = run.within(source, self.end - position) if position + run.size > self.end else run
                length, size, position = length + within.length, size + within.size, position + run.size
            if count == _MOST_RUNS:
                part = box.end - traf.start
                length, size = (total * (traf.end - traf.start) // part for total in (length, size))
        return time, length, size


@dataclass(frozen=True, slots=True)
class _Run:
    """A `trun` box: samples that lie one after the other."""

    offset: int | None
    length: int
    size: int
    box: Box
    defaults: Defaults

    @classmethod
    def read(cls, source: Readable, box: Box, defaults: Defaults) -> _Run:
        head = source.read(box.start, min(16, box.end - box.start))
        flags, count = number(head, 1, 3), number(head, 4)
        offset = int.from_bytes(head[8:12], "big", signed=True) if flags & 1 and len(head) >= 12 else None
        width = (flags >> 8 & 15).bit_count()
        if not flags & 0x300:
            return cls(offset, count * defaults.length, count * defaults.size, box, defaults)
        at = box.start + 8 + 4 * (flags & 1) + 4 * (flags >> 2 & 1)
        # Samples that the box announces and does not hold do not count.
        count = min(count, max(box.end - at, 0) // (4 * width))
        length = size = seen = 0
        while seen < min(count, _LARGEST_RUN // (4 * width)):
            part = words(
                source.read(at + seen * 4 * width, min(_CHUNK // 4 // width, count - seen) * 4 * width)
            )
            length += sum(part[::width]) if flags & 0x100 else 0
            size += sum(part[flags >> 8 & 1 :: width]) if flags & 0x200 else 0
            if not part:
                break
            seen += len(part) // width
        length, size = (total * count // seen if 0 < seen < count else total for total in (length, size))
        if not flags & 0x100:
            length = count * defaults.length
        if not flags & 0x200:
            size = count * defaults.size
        return cls(offset, length, size, box, defaults)

    def within(self, source: Readable, room: int) -> _Run:
        """The samples whose bytes lie in the first `room` of this run's, where the file was cut off."""
        if room <= 0 or not self.size:
            return _Run(self.offset, 0, 0, self.box, self.defaults)
        return _Run(self.offset, self.length * room // self.size, room, self.box, self.defaults)


def defaults_of(source: Readable, moov: Box, track: int) -> Defaults:
    """From `mvex/trex`."""
    extends = child(source, moov, b"mvex")
    for box in boxes(source, extends.start, extends.end) if extends else ():
        data = payload(source, box, 24)
        if box.name == b"trex" and number(data, 4) == track:
            return Defaults(number(data, 12), number(data, 16))
    return Defaults()
