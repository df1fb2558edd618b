"""WavPack (`.wv`): its blocks, as https://www.wavpack.com/WavPack5FileFormat.pdf describes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mosic.audio.source import Sound, Source, most_units
from mosic.errors import UnreadableMedia

_SAMPLE_RATES = (
    6000,
    8000,
    9600,
    11025,
    12000,
    16000,
    22050,
    24000,
    32000,
    44100,
    48000,
    64000,
    88200,
    96000,
    192000,
)
_MONO, _FIRST, _LAST, _DSD = 0x4, 0x800, 0x1000, 0x80000000
_ID_SAMPLE_RATE, _ID_DSD = 0x27, 0x0E
_MOST_BLOCKS = 400_000


@dataclass(frozen=True, slots=True)
class _Block:
    start: int
    size: int
    samples: int
    flags: int


def read(source: Source, start: int, end: int, *, most_blocks: int = _MOST_BLOCKS) -> Sound:
    """The file whose first block stands at `start`, as far as its blocks go.

    Behind so many of them the rest is taken to be like what comes before.
    """
    channels, samples, complete = 0, 0, False
    first: _Block | None = None
    walked = start
    most_blocks = most_units(end - start, most_blocks)
    for block in _blocks(source, start, end, most_blocks):
        walked, most_blocks = block.start + block.size, most_blocks - 1
        if block.samples == 0:
            continue
        first = first or block
        samples += block.samples if block.flags & _FIRST else 0
        # Every block has one or two channels; a flag marks the last block of a group.
        if not complete:
            channels += 1 if block.flags & _MONO else 2
            complete = bool(block.flags & _LAST)
    if first is None:
        raise UnreadableMedia("The file ends before its audio begins.")
    if not most_blocks:
        samples = samples * (end - start) // (walked - start)
    sample_rate = _sample_rate(source, first)
    seconds = samples / sample_rate if sample_rate else 0
    return Sound(
        media_type="audio/x-wavpack",
        codec="wavpack",
        duration=seconds,
        bitrate=round((end - start) * 8 / seconds) if seconds else None,
        sample_rate=sample_rate,
        channels=channels,
    )


def _blocks(source: Source, start: int, end: int, most: int) -> Iterator[_Block]:
    at = start
    for _ in range(most):
        header = source.read(at, min(32, end - at))
        size = int.from_bytes(header[4:8], "little") + 8
        if not header.startswith(b"wvpk") or len(header) < 32 or size < 32 or at + size > end:
            return
        samples, flags = int.from_bytes(header[20:24], "little"), int.from_bytes(header[24:28], "little")
        yield _Block(at, size, samples, flags)
        at += size


def _sample_rate(source: Source, block: _Block) -> int:
    """From the flags, or from a sub-block for unusual rates; DSD has a multiple of it."""
    index = block.flags >> 23 & 15
    rate = _SAMPLE_RATES[index] if index < len(_SAMPLE_RATES) else 0
    if rate and not block.flags & _DSD:
        return rate
    data = source.read(block.start + 32, min(block.size - 32, 1 << 16))
    at = 0
    while at + 2 <= len(data):
        kind, words = data[at], data[at + 1]
        at += 2
        if kind & 0x80:
            words |= int.from_bytes(data[at : at + 2], "little") << 8
            at += 2
        size = words * 2 - (1 if kind & 0x40 else 0)
        if kind & 0x3F == _ID_SAMPLE_RATE:
            rate = int.from_bytes(data[at : at + min(size, 4)], "little")
        elif kind & 0x3F == _ID_DSD and block.flags & _DSD and at < len(data):
            rate <<= min(data[at], 16)
        at += words * 2
    return rate
