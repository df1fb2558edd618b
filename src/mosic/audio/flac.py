"""FLAC (RFC 9639): stream info, comments, and the last frame, which tells how long the sound really is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mosic.audio.source import Forward, Pairs, Sound, Source
from mosic.audio.vorbis import read_comments
from mosic.errors import UnreadableMedia

_STREAMINFO, _VORBIS_COMMENT, _FORBIDDEN = 0, 4, 127
_MOST_BLOCKS = 4096
_TAILS = (256 * 1024, 8 * 1024 * 1024)
_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_BLOCK_SIZES = {
    1: 192,
    **{code: 144 << code for code in range(2, 6)},
    **{code: 1 << code for code in range(8, 16)},
}


def _crc8(byte: int) -> int:
    for _ in range(8):
        byte = (byte << 1 ^ 0x07 * (byte >> 7)) & 0xFF
    return byte


_CRC8 = [_crc8(byte) for byte in range(256)]


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """RFC 9639 §8.2. `samples` is 0 when the encoder could not know."""

    block_size: int
    sample_rate: int
    channels: int
    samples: int


def parse_stream_info(data: bytes) -> StreamInfo:
    """From the 34 bytes of the block; UnreadableMedia when they make no sense."""
    packed = int.from_bytes(data[10:18], "big")
    info = StreamInfo(
        block_size=int.from_bytes(data[2:4], "big"),
        sample_rate=packed >> 44,
        channels=(packed >> 41 & 7) + 1,
        samples=packed & (1 << 36) - 1,
    )
    if len(data) < 34 or info.sample_rate == 0 or info.block_size < 16:
        raise UnreadableMedia("The FLAC stream info is damaged.")
    return info


def read(source: Source, start: int, end: int) -> Sound:
    """The FLAC file whose `fLaC` stands at `start` and whose frames end before `end`."""
    info: StreamInfo | None = None
    pairs: Pairs = []
    at = start + 4
    for _ in range(_MOST_BLOCKS):
        header = source.read(at, 4)
        kind, length = (
            (header[0] & 0x7F, int.from_bytes(header[1:], "big")) if len(header) == 4 else (_FORBIDDEN, 0)
        )
        if info is None:
            if kind != _STREAMINFO:
                raise UnreadableMedia("The FLAC stream info is missing.")
            info = parse_stream_info(source.read(at + 4, 34))
        # Some encoders wrote pictures longer than the length can say; what follows then is no block.
        if kind == _FORBIDDEN or at + 4 + length > end:
            break
        if kind == _VORBIS_COMMENT and not pairs:
            pairs = read_comments(Forward(source, [(at + 4, at + 4 + length)]))
        at += 4 + length
        if header[0] & 0x80:
            break
    assert info is not None
    samples = _played(source, at, end, info)
    return Sound(
        media_type="audio/flac",
        codec="flac",
        duration=samples / info.sample_rate if samples else None,
        bitrate=(end - at) * 8 * info.sample_rate // samples if samples else None,
        sample_rate=info.sample_rate,
        channels=info.channels,
        tags=[pairs],
    )


def _played(source: Source, start: int, end: int, info: StreamInfo) -> int | None:
    """Samples up to the end of the last whole frame; None when no frame can be made out.

    The stream info is a promise that a cut-off file breaks, and that a stream written to a pipe never makes.
    """
    for size in _TAILS:
        offset = max(start, end - size)
        frames = [(0, 0)] if offset == start else []
        frames += _frames(source.read(offset, end - offset), info)
        if frames and frames[-1][1] == info.samples:
            return info.samples
        for before, frame in zip(reversed(frames[:-1]), reversed(frames[1:]), strict=True):
            if before[1] == frame[0]:
                # Frame after frame, and then not the promised end: the last one is cut off.
                return frame[1] if info.samples == 0 else frame[0]
        if offset == start:
            break
    return None


def _frames(data: bytes, info: StreamInfo) -> Iterator[tuple[int, int]]:
    """First sample, and the one after the last, of each frame header in `data` that passes its checksum."""
    for match in _SYNC.finditer(data):
        # The longest header has 16 bytes; the frame of silence is shorter.
        header = data[match.start() : match.start() + 16].ljust(17, b"\0")
        if header[3] & 1:
            continue
        number_length = max(8 - (header[4] ^ 0xFF).bit_length(), 1)
        if number_length == 8 or (header[4] & 0xC0) == 0x80:
            continue
        number = header[4] & (0x7F if number_length == 1 else 0x7F >> number_length)
        for byte in header[5 : 4 + number_length]:
            number = number << 6 | byte & 0x3F
        at = 4 + number_length
        code, rate = header[2] >> 4, header[2] & 15
        extra = {6: 1, 7: 2}.get(code, 0)
        block_size = _BLOCK_SIZES.get(code) or int.from_bytes(header[at : at + extra], "big") + 1
        at += extra + {12: 1, 13: 2, 14: 2}.get(rate, 0)
        crc = 0
        for byte in header[:at]:
            crc = _CRC8[crc ^ byte]
        if code == 0 or crc != header[at]:
            continue
        first = number if header[1] & 1 else number * info.block_size
        yield first, first + block_size
