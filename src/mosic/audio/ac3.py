"""Raw AC-3 and E-AC-3 (`.ac3`, `.eac3`), counted. Frame headers: ETSI TS 102 366 §4.4.1 and §E.1.2."""

from __future__ import annotations

from collections import Counter

from mosic.audio.frames import WALK_LIMIT, Syntax, scale
from mosic.audio.source import Readable, Sound

_SAMPLE_RATES = (48000, 44100, 32000)
_BITRATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_CHANNELS = (2, 1, 2, 3, 3, 4, 4, 5)
_BLOCKS = (1, 2, 3, 6)
_SAMPLES_PER_BLOCK = 256
_DEPENDENT = 1


def _parse(data: bytes, at: int) -> tuple[int, int] | None:
    rate, size, version = data[at + 4] >> 6, data[at + 4] & 0x3F, data[at + 5] >> 3
    if data[at : at + 2] != b"\x0b\x77" or version > 16:
        return None
    if version > 10:
        length = ((data[at + 2] & 7) << 8 | data[at + 3]) * 2 + 2
        half_rate_is_reserved = rate == 3 and size >> 4 == 3
        return (version << 4, length) if length >= 16 and not half_rate_is_reserved else None
    if rate == 3 or size > 37:
        return None
    words = _BITRATES[size >> 1] * 96000 // _SAMPLE_RATES[rate]
    return version << 4 | rate, 2 * (words + (size & 1 if rate == 1 else 0))


SYNTAX = Syntax(sync=b"\x0b\x77", header=8, parse=_parse)


def read(source: Readable, start: int, end: int, *, limit: int = WALK_LIMIT) -> Sound:
    """Measure the frames in `[start, end)`, the first of which stands at `start`.

    Behind `limit` bytes they are taken to go on as before.
    """
    head = source.read(start, 8)
    enhanced = _is_enhanced(head, 0)
    frame_bytes = 0
    # Where streams were joined, each has a rate of its own.
    frames: Counter[tuple[bool, int, int]] = Counter()
    for chunk, at, length in SYNTAX.walk(source, start, end, limit):
        frame_bytes += length
        frames[_is_enhanced(chunk, at), chunk[at + 2], chunk[at + 4] << 8 | chunk[at + 5]] += 1
    seconds = sum(_seconds(*frame) * count for frame, count in frames.items())
    sample_rate, channels = _describe_enhanced(head) if enhanced else _describe(head)
    return Sound(
        media_type="audio/eac3" if enhanced else "audio/ac3",
        codec="eac3" if enhanced else "ac3",
        duration=scale(seconds, start, end, limit),
        bitrate=round(frame_bytes * 8 / seconds) if seconds else None,
        sample_rate=sample_rate,
        channels=channels,
    )


def _is_enhanced(data: bytes, at: int) -> bool:
    return data[at + 5] >> 3 > 10


def _seconds(enhanced: bool, third: int, fifth: int) -> float:
    """The header of a frame. E-AC-3 also has frames that add channels to the frame before."""
    head = bytes((0, 0, third, 0, fifth >> 8, fifth & 0xFF))
    if not enhanced:
        return 6 * _SAMPLES_PER_BLOCK / _rate(head)
    if third >> 6 == _DEPENDENT or third >> 3 & 7:
        return 0
    blocks = 6 if head[4] >> 6 == 3 else _BLOCKS[head[4] >> 4 & 3]
    return blocks * _SAMPLES_PER_BLOCK / _enhanced_rate(head)


def _rate(head: bytes) -> int:
    return _SAMPLE_RATES[head[4] >> 6] >> max((head[5] >> 3) - 8, 0)


def _enhanced_rate(head: bytes) -> int:
    rate, second_rate = head[4] >> 6, head[4] >> 4 & 3
    return _SAMPLE_RATES[second_rate] // 2 if rate == 3 else _SAMPLE_RATES[rate]


def _describe(head: bytes) -> tuple[int, int]:
    mode = head[6] >> 5
    # Two bits for each level (centre, surround, Dolby Surround) precede the bit of the bass channel.
    levels = (mode & 1 and mode != 1) + bool(mode & 4) + (mode == 2)
    bass = int.from_bytes(head[6:8], "big") >> (12 - 2 * levels) & 1
    return _rate(head), _CHANNELS[mode] + bass


def _describe_enhanced(head: bytes) -> tuple[int, int]:
    return _enhanced_rate(head), _CHANNELS[head[4] >> 1 & 7] + (head[4] & 1)
