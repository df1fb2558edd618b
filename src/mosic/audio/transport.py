"""MPEG transport streams (`.ts`, `.m2ts`; ISO/IEC 13818-1): the first stream of sound of the first program.

So come broadcasts and the pieces of HLS. The frames are taken out of their packets and counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from mosic.audio import ac3, adts, dts, latm, mpeg
from mosic.audio.frames import Syntax
from mosic.audio.source import Memory, Sound, Source
from mosic.errors import UnreadableMedia, UnsupportedMedia

_SYNC = 0x47
_PACKET = 188
_SIZES = ((188, 0), (192, 4), (204, 0))
_IN_A_ROW = 4
_LARGEST = 8 << 20
_TAILS = (256 << 10, 2 << 20, 8 << 20)
_TABLES_WITHIN = 4 << 20
_LARGEST_TABLE = 4096
_CLOCK, _CLOCK_BITS = 90_000, 33
_PRIVATE, _REGISTRATION = 0x06, 0x05
_Read = Callable[[Memory, int, int], Sound]
_MPEG: tuple[Syntax, _Read] = (mpeg.SYNTAX, mpeg.read)
_AC3: tuple[Syntax, _Read] = (ac3.SYNTAX, ac3.read)
_DTS: tuple[Syntax, _Read] = (dts.SYNTAX, dts.read)
_READERS: dict[int, tuple[Syntax, _Read]] = {
    0x03: _MPEG, 0x04: _MPEG, 0x0F: (adts.SYNTAX, adts.read), 0x11: (latm.SYNTAX, latm.read),
    0x81: _AC3, 0x87: _AC3, 0x82: _DTS, 0x8A: _DTS,
}  # fmt: skip
# The descriptors of a private stream tell its codec (ETSI EN 300 468, and format identifiers).
_BY_DESCRIPTOR = {0x6A: 0x81, 0x7A: 0x87, 0x7B: 0x82}
_BY_REGISTRATION = {b"AC-3": 0x81, b"EAC3": 0x87, b"DTS1": 0x82, b"DTS2": 0x82, b"DTS3": 0x82}


@dataclass(slots=True)
class _Elementary:
    """What was taken out of the packets of one stream; times are those of the packets, unwrapped."""

    data: bytearray
    first: int | None = None
    last: int | None = None


def find(data: bytes) -> tuple[int, int] | None:
    """Offset of the first packet, and the distance of packets; None when it is no transport stream."""
    for size, before in _SIZES:
        for start in range(min(size, max(len(data) - size * (_IN_A_ROW - 1), 0))):
            if data[start] == _SYNC and set(data[start : start + size * _IN_A_ROW : size]) == {_SYNC}:
                return max(start - before, 0) if before else start, size
    return None


def read(source: Source, start: int, end: int, *, largest: int = _LARGEST) -> Sound:
    """The stream in `[start, end)`.

    Behind so many bytes only the clock of the last packets is looked at, and the duration is an estimate.
    """
    shape = find(source.read(start, min(_SIZES[-1][0] * (_IN_A_ROW + 1), end - start)))
    if shape is None:
        raise UnreadableMedia("This is not a transport stream.")
    start, size = start + shape[0], shape[1]
    pid, kind = _sound_stream(source, start, end, size)
    syntax, measure = _READERS[kind]
    stop = min(end, start + largest // size * size)
    stream = _elementary(source, start, stop, size, pid)
    data = bytes(stream.data)
    first = syntax.find(data, ends=True)
    if first is None:
        raise UnreadableMedia("The audio in this transport stream cannot be read.")
    sound = measure(Memory(0, data), first, len(data))
    if stop < end and sound.duration:
        sound = replace(sound, duration=_whole(source, stream, sound.duration, (start, stop, end), size, pid))
    return replace(sound, media_type="audio/mp2t")


def _whole(
    source: Source, stream: _Elementary, seconds: float, reach: tuple[int, int, int], size: int, pid: int
) -> float:
    start, stop, end = reach
    estimate = seconds * (end - start) / (stop - start)
    for tail in _TAILS:
        begin = max(stop, end - (tail // size + 1) * size)
        begin -= (begin - start) % size
        last = _elementary(source, begin, end, size, pid).last
        if last is not None and stream.first is not None and stream.last is not None:
            clocked = ((last - stream.first) % (1 << _CLOCK_BITS)) / _CLOCK
            # The clock tells where the last frames begin; how long these are, it told of those before.
            clocked += max(seconds - (stream.last - stream.first) % (1 << _CLOCK_BITS) / _CLOCK, 0)
            # It may have been reset in between.
            return clocked if estimate / 2 < clocked < estimate * 2 else estimate
        if begin <= stop:
            break
    return estimate


def _packets(source: Source, start: int, end: int, size: int) -> Iterator[tuple[int, bool, bytes]]:
    """Stream, whether something begins here, and payload of each packet; damage is skipped."""
    before = 4 if size == 192 else 0
    step = (1 << 20) // size * size
    offset = start
    while offset < end:
        chunk = source.read(offset, min(step, end - offset))
        at = before
        while at + _PACKET <= len(chunk):
            if chunk[at] != _SYNC:
                at = chunk.find(_SYNC, at + 1)
                if at < 0:
                    at = len(chunk) + before
                continue
            control = chunk[at + 3] >> 4 & 3
            begin = at + 4 if control == 1 else at + 5 + chunk[at + 4]
            if control & 1 and begin < at + _PACKET:
                pid = (chunk[at + 1] & 0x1F) << 8 | chunk[at + 2]
                yield pid, bool(chunk[at + 1] & 0x40), chunk[begin : at + _PACKET]
            at += size
        # A packet that continues in the next chunk is read there.
        offset += at - before if at > before else len(chunk)


def _sound_stream(source: Source, start: int, end: int, size: int) -> tuple[int, int]:
    """Number and type of the first stream of sound that the program tables name."""
    maps: set[int] = set()
    pending: defaultdict[int, bytearray] = defaultdict(bytearray)
    has_streams = False
    for pid, begins, payload in _packets(source, start, min(end, start + _TABLES_WITHIN), size):
        if pid and pid not in maps:
            continue
        if begins:
            pending[pid] = bytearray(payload[1 + payload[0] :])
        elif pid in pending and len(pending[pid]) < _LARGEST_TABLE:
            pending[pid] += payload
        table = bytes(pending[pid])
        length = 3 + (int.from_bytes(table[1:3], "big") & 0xFFF)
        if len(table) < length or length < 12:
            continue
        body = table[8 : length - 4]
        if pid == 0 and table[0] == 0:
            maps |= {
                int.from_bytes(body[at + 2 : at + 4], "big") & 0x1FFF
                for at in range(0, len(body) - 3, 4)
                if any(body[at : at + 2])
            }
        elif table[0] == 2:
            has_streams = True
            for number, kind in _streams(body):
                if kind in _READERS:
                    return number, kind
    if has_streams or not maps:
        raise UnsupportedMedia("This transport stream has no audio of a known format.")
    raise UnreadableMedia("The transport stream ends before it says what is in it.")


def _streams(body: bytes) -> Iterator[tuple[int, int]]:
    at = 4 + (int.from_bytes(body[2:4], "big") & 0xFFF)
    while at + 5 <= len(body):
        kind, number = body[at], int.from_bytes(body[at + 1 : at + 3], "big") & 0x1FFF
        size = int.from_bytes(body[at + 3 : at + 5], "big") & 0xFFF
        descriptors = body[at + 5 : at + 5 + size]
        at += 5 + size
        yield number, _of_private(descriptors) if kind == _PRIVATE else kind


def _of_private(descriptors: bytes) -> int:
    at = 0
    while at + 2 <= len(descriptors):
        tag, size = descriptors[at], descriptors[at + 1]
        if tag in _BY_DESCRIPTOR:
            return _BY_DESCRIPTOR[tag]
        if tag == _REGISTRATION and (known := _BY_REGISTRATION.get(descriptors[at + 2 : at + 6])):
            return known
        at += 2 + size
    return _PRIVATE


def _elementary(source: Source, start: int, end: int, size: int, pid: int) -> _Elementary:
    found = _Elementary(bytearray())
    for number, begins, payload in _packets(source, start, end, size):
        if number != pid:
            continue
        if begins and payload.startswith(b"\0\0\1") and len(payload) >= 9:
            if payload[7] & 0x80 and len(payload) >= 14:
                time = _time(payload[9:14])
                found.first = time if found.first is None else found.first
                found.last = time
            found.data += payload[9 + payload[8] :]
        else:
            found.data += payload
    return found


def _time(raw: bytes) -> int:
    low = int.from_bytes(raw[1:3], "big") >> 1 << 15 | int.from_bytes(raw[3:5], "big") >> 1
    return (raw[0] >> 1 & 7) << 30 | low
