"""The sample tables of a track: how long its samples last, and how many bytes they have.

ISO/IEC 14496-12 §8.6.1.2 (`stts`) and §8.7.3 (`stsz`, `stz2`).
"""

from __future__ import annotations

from mosic.audio.boxes import Box, child, number, payload, words
from mosic.audio.source import Readable

LARGEST_TABLE = 64 << 20
_MOST_TICKS = 1 << 31
_LOOKED_AT = 1000


def sizes(source: Readable, table: Box | None, largest: int = LARGEST_TABLE) -> tuple[int | None, int]:
    """Number of the samples and bytes of all; None without a table. Beyond `largest` bytes the rest is taken
    to be like what comes before."""
    box = child(source, table, b"stsz")
    if box is not None:
        data = payload(source, box, 12 + largest)
        each, count = number(data, 4), number(data, 8)
        if each:
            return count, each * count
        listed = words(data[12 : 12 + 4 * count])
        return count, _scaled(sum(listed), len(listed), count)
    box = child(source, table, b"stz2")
    if box is None:
        return None, 0
    data = payload(source, box, 12 + largest)
    bits, count = number(data, 7, 1), number(data, 8)
    raw = data[12 : 12 + (count * bits + 7) // 8]
    if bits == 4:
        return count, _scaled(sum((byte >> 4) + (byte & 15) for byte in raw), len(raw) * 2, count)
    if bits == 16:
        return count, _scaled(sum(raw[::2]) * 256 + sum(raw[1::2]), len(raw) // 2, count)
    return count, _scaled(sum(raw), len(raw), count)


def length(source: Readable, table: Box | None, count: int | None, largest: int = LARGEST_TABLE) -> int:
    """How long the first `count` samples last, in the track's timescale; all that are listed when None.

    Players go by this, and not by the length in `mdhd`. Beyond `largest` bytes as in `sizes`.
    """
    data = payload(source, child(source, table, b"stts"), 8 + largest)
    listed = words(data[8 : 8 + 8 * number(data, 4)])
    ticks = seen = each = 0
    for samples, each in zip(listed[::2], listed[1::2], strict=False):
        if count is not None and seen + samples >= count:
            return ticks + (count - seen) * _sane(each)
        seen += samples
        ticks += samples * _sane(each)
    if count is None or not seen:
        return ticks
    is_cut = len(listed) // 2 < number(data, 4)
    # Samples beyond the table last as long as its last one.
    return _scaled(ticks, seen, count) if is_cut else ticks + (count - seen) * _sane(each)


def usual(source: Readable, table: Box | None) -> int:
    """How long most of the first samples last, in the track's timescale."""
    data = payload(source, child(source, table, b"stts"), 8 + 8 * _LOOKED_AT)
    listed = words(data[8:])
    return _sane(max(zip(listed[::2], listed[1::2], strict=False), default=(0, 0))[1])


def _sane(ticks: int) -> int:
    # Some write -1 for «at once», which as an unsigned number would be a day.
    return ticks if ticks < _MOST_TICKS else 0


def _scaled(total: int, seen: int, count: int) -> int:
    return total * count // seen if 0 < seen < count else total
