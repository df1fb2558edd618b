"""Raw AC-3 and E-AC-3 (`.ac3`, `.eac3`), counted. Frame headers: ETSI TS 102 366 §4.4.1 and §E.1.2."""

from __future__ import annotations

from mosic.audio.frames import Syntax, scale
from mosic.audio.source import Sound, Source

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


def read(source: Source, start: int, end: int) -> Sound:
    """Measure the frames in `[start, end)`, the first of which stands at `start`."""
    head = source.read(start, 8)
    enhanced = head[5] >> 3 > 10
    frame_bytes = blocks = 0
    for chunk, at, length in SYNTAX.walk(source, start, end):
        frame_bytes += length
        if not enhanced:
            blocks += 6
        elif chunk[at + 2] >> 6 != _DEPENDENT and chunk[at + 2] >> 3 & 7 == 0:
            blocks += 6 if chunk[at + 4] >> 6 == 3 else _BLOCKS[chunk[at + 4] >> 4 & 3]
    sample_rate, channels = _describe_enhanced(head) if enhanced else _describe(head)
    samples = blocks * _SAMPLES_PER_BLOCK
    return Sound(
        media_type="audio/eac3" if enhanced else "audio/ac3",
        codec="eac3" if enhanced else "ac3",
        duration=scale(samples, start, end) / sample_rate,
        bitrate=frame_bytes * 8 * sample_rate // samples if samples else None,
        sample_rate=sample_rate,
        channels=channels,
    )


def _describe(head: bytes) -> tuple[int, int]:
    mode = head[6] >> 5
    # Before the bit of the bass channel stand two bits for each level: centre, surround, Dolby Surround.
    levels = (mode & 1 and mode != 1) + bool(mode & 4) + (mode == 2)
    bass = int.from_bytes(head[6:8], "big") >> (12 - 2 * levels) & 1
    return _SAMPLE_RATES[head[4] >> 6] >> max((head[5] >> 3) - 8, 0), _CHANNELS[mode] + bass


def _describe_enhanced(head: bytes) -> tuple[int, int]:
    rate, second_rate = head[4] >> 6, head[4] >> 4 & 3
    sample_rate = _SAMPLE_RATES[second_rate] // 2 if rate == 3 else _SAMPLE_RATES[rate]
    return sample_rate, _CHANNELS[head[4] >> 1 & 7] + (head[4] & 1)
