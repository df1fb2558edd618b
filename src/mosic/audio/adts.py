"""Raw AAC in ADTS frames (`.aac`), counted. Frame header: ISO/IEC 14496-3 §1.A.2.2."""

from __future__ import annotations

from mosic.audio.frames import Syntax, scale
from mosic.audio.source import Sound, Source

_SAMPLE_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_SAMPLES_PER_BLOCK = 1024


def _parse(data: bytes, at: int) -> tuple[int, int] | None:
    second, third = data[at + 1], data[at + 2]
    if data[at] != 0xFF or second & 0xF6 != 0xF0 or third >> 2 & 15 >= len(_SAMPLE_RATES):
        return None
    length = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    return (second << 8 | third, length) if length > 7 else None


SYNTAX = Syntax(sync=b"\xff", header=7, parse=_parse)


def read(source: Source, start: int, end: int) -> Sound:
    """Measure the frames in `[start, end)`, the first of which stands at `start`.

    The sample rate is that of the core: HE-AAC doubles it without saying so in the header.
    """
    head = source.read(start, 7)
    sample_rate = _SAMPLE_RATES[head[2] >> 2 & 15]
    configuration = (head[2] & 1) << 2 | head[3] >> 6
    blocks = frame_bytes = 0
    for chunk, at, length in SYNTAX.walk(source, start, end):
        blocks += (chunk[at + 6] & 3) + 1
        frame_bytes += length
    samples = blocks * _SAMPLES_PER_BLOCK
    return Sound(
        media_type="audio/aac",
        codec="aac",
        duration=scale(samples, start, end) / sample_rate,
        bitrate=frame_bytes * 8 * sample_rate // samples if samples else None,
        sample_rate=sample_rate,
        channels=8 if configuration == 7 else configuration,
    )
