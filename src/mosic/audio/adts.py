"""Raw AAC in ADTS frames (`.aac`), counted. Frame header: ISO/IEC 14496-3 §1.A.2.2."""

from __future__ import annotations

from collections import Counter

from mosic.audio.frames import WALK_LIMIT, Syntax, scale
from mosic.audio.source import Readable, Sound

_SAMPLE_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_SAMPLES_PER_BLOCK = 1024


def _parse(data: bytes, at: int) -> tuple[int, int] | None:
    second, third = data[at + 1], data[at + 2]
    if data[at] != 0xFF or second & 0xF6 != 0xF0 or third >> 2 & 15 >= len(_SAMPLE_RATES):
        return None
    length = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    return (second << 8 | third, length) if length > 7 else None


SYNTAX = Syntax(sync=b"\xff", header=7, parse=_parse)


def read(source: Readable, start: int, end: int, *, limit: int = WALK_LIMIT) -> Sound:
    """Measure the frames in `[start, end)`, the first of which stands at `start`.

    Behind `limit` bytes they are taken to go on as before. The sample rate is that of the core: HE-AAC
    doubles it without saying so in the header.
    """
    head = source.read(start, 7)
    configuration = (head[2] & 1) << 2 | head[3] >> 6
    # Where streams were joined, each has a rate of its own.
    blocks: Counter[int] = Counter()
    frame_bytes = 0
    for chunk, at, length in SYNTAX.walk(source, start, end, limit):
        blocks[chunk[at + 2] >> 2 & 15] += (chunk[at + 6] & 3) + 1
        frame_bytes += length
    seconds = sum(count * _SAMPLES_PER_BLOCK / _SAMPLE_RATES[rate] for rate, count in blocks.items())
    return Sound(
        media_type="audio/aac",
        codec="aac",
        duration=scale(seconds, start, end, limit),
        bitrate=round(frame_bytes * 8 / seconds) if seconds else None,
        sample_rate=_SAMPLE_RATES[head[2] >> 2 & 15],
        channels=8 if configuration == 7 else configuration,
    )
