"""Raw DTS (`.dts`; ETSI TS 102 114 §5.3): the frames of its core, counted."""

from __future__ import annotations

from collections import Counter

from mosic.audio.frames import WALK_LIMIT, Syntax, scale
from mosic.audio.source import Readable, Sound

_SYNC = b"\x7f\xfe\x80\x01"
_SAMPLE_RATES = {
    1: 8000, 2: 16000, 3: 32000, 6: 11025, 7: 22050, 8: 44100, 11: 12000, 12: 24000, 13: 48000,
}  # fmt: skip
_CHANNELS = (1, 2, 2, 2, 2, 3, 3, 4, 4, 5, 6, 6, 6, 7, 8, 8)
_SAMPLES_PER_BLOCK = 32
_LEAST_FRAME = 96


def _fields(data: bytes, at: int) -> tuple[int, int, int, int, int]:
    """Samples, bytes, and the codes of channels, sample rate and bass channel."""
    bits = int.from_bytes(data[at + 4 : at + 11], "big")
    samples = ((bits >> 42 & 0x7F) + 1) * _SAMPLES_PER_BLOCK
    return samples, (bits >> 28 & 0x3FFF) + 1, bits >> 22 & 0x3F, bits >> 18 & 15, bits >> 1 & 3


def _parse(data: bytes, at: int) -> tuple[int, int] | None:
    if data[at : at + 4] != _SYNC:
        return None
    _, length, _, rate, _ = _fields(data, at)
    return (rate, length) if rate in _SAMPLE_RATES and length >= _LEAST_FRAME else None


SYNTAX = Syntax(sync=_SYNC, header=11, parse=_parse)


def read(source: Readable, start: int, end: int, *, limit: int = WALK_LIMIT) -> Sound:
    """Measure the frames in `[start, end)`, the first of which stands at `start`.

    Behind `limit` bytes they are taken to go on as before.
    """
    _, _, arrangement, rate, bass = _fields(source.read(start, 11), 0)
    samples: Counter[int] = Counter()
    frame_bytes = 0
    for chunk, at, length in SYNTAX.walk(source, start, end, limit):
        count, _, _, its_rate, _ = _fields(chunk, at)
        samples[its_rate] += count
        frame_bytes += length
    seconds = sum(count / _SAMPLE_RATES[its_rate] for its_rate, count in samples.items())
    return Sound(
        media_type="audio/vnd.dts",
        codec="dts",
        duration=scale(seconds, start, end, limit),
        bitrate=round(frame_bytes * 8 / seconds) if seconds else None,
        sample_rate=_SAMPLE_RATES[rate],
        channels=_CHANNELS[arrangement] + bool(bass in (1, 2)) if arrangement < len(_CHANNELS) else None,
    )
