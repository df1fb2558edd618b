"""MPEG-1, -2 and -2.5 audio, layers I to III (`.mp3`, `.mp2`): found and measured by its frames.

The headers that announce a length (Xing, Info, VBRI) are often missing, wrong or of another take of the file,
so the frames are counted. Frame header: ISO/IEC 11172-3 §2.4.1.3 and 13818-3 §2.4.2.3.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache

from mosic.audio.frames import WALK_LIMIT, Syntax, scale
from mosic.audio.source import Readable, Sound

_BITRATES = {  # kbit/s for index 1 to 14, by (MPEG-1?, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_MPEG1 = 3


def frame_seconds(codec: str, sample_rate: int) -> float | None:
    """How long a frame lasts; None for what is no MPEG audio."""
    if codec not in ("mp1", "mp2", "mp3") or not sample_rate:
        return None
    samples = 384 if codec == "mp1" else 576 if codec == "mp3" and sample_rate < 32000 else 1152
    return samples / sample_rate


@dataclass(frozen=True, slots=True)
class _Header:
    """The second and third byte of a frame header. `length` is in bytes, `samples` are per channel."""

    kind: int
    layer: int
    sample_rate: int
    bitrate: int
    length: int
    samples: int


@cache
def _decode(second: int, third: int) -> _Header | None:
    """None for what no frame has, and for free format (bit rate 0), whose frames do not say their length."""
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    bitrate_index, rate_index, padding = third >> 4, third >> 2 & 3, third >> 1 & 1
    if second < 0xE0 or version == 1 or layer == 4 or rate_index == 3 or bitrate_index in (0, 15):
        return None
    sample_rate = _SAMPLE_RATES[version][rate_index]
    bitrate = _BITRATES[version == _MPEG1, layer][bitrate_index - 1] * 1000
    samples = 384 if layer == 1 else 576 if layer == 3 and version != _MPEG1 else 1152
    slot = 4 if layer == 1 else 1
    length = (samples // 8 // slot * bitrate // sample_rate + padding) * slot
    # Bit rate, padding and checksum may change from frame to frame.
    return _Header((second & 0xFE) << 8 | third & 0x0C, layer, sample_rate, bitrate, length, samples)


@cache
def _kind_and_length(second: int, third: int) -> tuple[int, int] | None:
    header = _decode(second, third)
    return (header.kind, header.length) if header is not None else None


def _parse(data: bytes, at: int) -> tuple[int, int] | None:
    return _kind_and_length(data[at + 1], data[at + 2]) if data[at] == 0xFF else None


SYNTAX = Syntax(sync=b"\xff", header=4, parse=_parse)


def read(source: Readable, start: int, end: int, *, limit: int = WALK_LIMIT) -> Sound:
    """Measure the frames in `[start, end)`, the first of which stands at `start`.

    Behind `limit` bytes they are taken to go on as before. The duration is what a gapless player plays: a
    Xing, Info or VBRI frame is not sound, and the encoder's delay and padding are taken off where a LAME or
    Lavf header states them.
    """
    head = source.read(start, 4096)
    first = _decode(head[1], head[2])
    if first is None:
        raise ValueError("no frame begins here")
    walked = SYNTAX.walk(source, start, end, limit)
    frames = Counter(chunk[at + 1] << 8 | chunk[at + 2] for chunk, at, _ in walked)
    announced, left_out = _announcement(head[: first.length])
    if announced:
        frames[head[1] << 8 | head[2]] -= 1
    headers = [(header, count) for key, count in frames.items() if (header := _decode(key >> 8, key & 0xFF))]
    # Where streams were joined, each has a rate of its own.
    seconds = sum(header.samples * count / header.sample_rate for header, count in headers)
    bitrates = {header.bitrate for header, count in headers if count > 0}
    if len(bitrates) == 1:
        bitrate = bitrates.pop()
    else:
        frame_bytes = sum(header.length * count for header, count in headers)
        bitrate = round(frame_bytes * 8 / seconds) if seconds else 0
    return Sound(
        media_type="audio/mpeg",
        codec=f"mp{first.layer}",
        duration=max(scale(seconds, start, end, limit) - left_out / first.sample_rate, 0),
        bitrate=bitrate,
        sample_rate=first.sample_rate,
        channels=1 if head[3] >> 6 == 3 else 2,
    )


def _announcement(frame: bytes) -> tuple[bool, int]:
    """Whether the frame is a Xing, Info or VBRI header, and the samples that a gapless player leaves out."""
    if frame[36:40] == b"VBRI":
        return True, 0
    # After the side information, whose size depends on version and channels.
    at = max(frame[:64].find(b"Xing", 4), frame[:64].find(b"Info", 4))
    if at < 0:
        return False, 0
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    at += 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    if not frame[at : at + 4].startswith((b"LAME", b"L3.9", b"Lavf", b"Lavc")):
        return True, 0
    gaps = int.from_bytes(frame[at + 21 : at + 24], "big")
    return True, (gaps >> 12) + (gaps & 0xFFF)
