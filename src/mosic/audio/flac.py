"""FLAC (RFC 9639): stream info, comments, and the last frame, which tells the true length."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from mosic.audio.frames import WALK_LIMIT
from mosic.audio.source import Forward, Pairs, Sound, Source
from mosic.audio.vorbis import read_comments
from mosic.errors import UnreadableMedia
from mosic.wire.chapters import Chapter

_STREAMINFO, _VORBIS_COMMENT, _CUESHEET, _FORBIDDEN = 0, 4, 5, 127
_LARGEST_SHEET = 64 << 10
_LEAD_OUT = (170, 255)
_MOST_BLOCKS = 4096
_TAILS = (256 * 1024, 8 * 1024 * 1024)
_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_BLOCK_SIZES = {
    1: 192,
    **{code: 144 << code for code in range(2, 6)},
    **{code: 1 << code for code in range(8, 16)},
}


_SAMPLE_RATES = {
    1: 88200, 2: 176400, 3: 192000, 4: 8000, 5: 16000, 6: 22050, 7: 24000, 8: 32000, 9: 44100, 10: 48000,
    11: 96000,
}  # fmt: skip
_BITS = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}
_STREAMINFO_SIZE = 34
_LONGEST_HEADER = 17
_BEGINS = b"fLaC\0\0\0\x22"
_MOST_JOINED = 16
_CHUNK = 1 << 20


def _crc8(byte: int) -> int:
    for _ in range(8):
        byte = (byte << 1 ^ 0x07 * (byte >> 7)) & 0xFF
    return byte


def _crc16(byte: int) -> int:
    word = byte << 8
    for _ in range(8):
        word = (word << 1 ^ 0x8005 * (word >> 15)) & 0xFFFF
    return word


_CRC8 = [_crc8(byte) for byte in range(256)]
_CRC16 = [_crc16(byte) for byte in range(256)]


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """RFC 9639 §8.2. `samples` is 0 when the encoder did not know it."""

    block_size: int
    sample_rate: int
    channels: int
    samples: int
    bits: int


@dataclass(frozen=True, slots=True)
class _Frame:
    """A frame header (RFC 9639 §9.1): where it stands, its first sample and the one after the last.

    Rate and bits are 0 where the stream info tells them.
    """

    at: int
    first: int
    end: int
    sample_rate: int
    bits: int


def parse_stream_info(data: bytes) -> StreamInfo:
    """From the 34 bytes of the block; UnreadableMedia when they are invalid."""
    packed = int.from_bytes(data[10:18], "big")
    info = StreamInfo(
        block_size=int.from_bytes(data[2:4], "big"),
        sample_rate=packed >> 44,
        channels=(packed >> 41 & 7) + 1,
        samples=packed & (1 << 36) - 1,
        bits=(packed >> 36 & 31) + 1,
    )
    if len(data) < _STREAMINFO_SIZE or info.sample_rate == 0 or info.block_size < 16 or info.bits < 4:
        raise UnreadableMedia("The FLAC stream info is damaged.")
    return info


def read(source: Source, start: int, end: int, *, tails: tuple[int, ...] = _TAILS) -> Sound:
    """The FLAC file whose `fLaC` stands at `start` and whose frames end before `end`.

    The last frame is looked for in the last bytes, `tails` of them at most; without it there is no duration.
    Of files that were joined, a few, the sum.
    Raises UnreadableMedia when its stream info is such that decoders refuse it, or every frame.
    """
    info, pairs, chapters, at = _metadata(source, start, end)
    joined = list(islice(_joined(source, at, end), _MOST_JOINED))
    info, samples = _measured(source, at, joined[0] if joined else end, info, tails)
    seconds = samples / info.sample_rate if samples else None
    for begin, stop in zip(joined, [*joined[1:], end], strict=False):
        following = _seconds(source, begin, stop, tails[:1]) if len(joined) < _MOST_JOINED else None
        seconds = seconds + following if seconds and following else None
    return Sound(
        media_type="audio/flac",
        codec="flac",
        duration=seconds,
        bitrate=round((end - at) * 8 / seconds) if seconds else None,
        sample_rate=info.sample_rate,
        channels=info.channels,
        tags=[pairs],
        chapters=chapters,
    )


def _seconds(source: Source, start: int, end: int, tails: tuple[int, ...]) -> float | None:
    """Of a file that was appended to another."""
    try:
        info, _, _, at = _metadata(source, start, end)
        info, samples = _measured(source, at, end, info, tails)
    except UnreadableMedia:
        return None
    return samples / info.sample_rate if samples else None


def _joined(source: Source, start: int, end: int) -> Iterator[int]:
    """Where further files begin that were appended to the first: players continue with their frames."""
    stop = min(end, start + WALK_LIMIT)
    for offset in range(start, stop, _CHUNK):
        chunk = source.read(offset, min(_CHUNK + len(_BEGINS) - 1, stop - offset))
        at = chunk.find(_BEGINS)
        while at >= 0:
            yield offset + at
            at = chunk.find(_BEGINS, at + 1)


def _metadata(source: Source, start: int, end: int) -> tuple[StreamInfo, Pairs, list[Chapter], int]:
    """Stream info, comments, the tracks of a cue sheet, and where the first frame begins."""
    info: StreamInfo | None = None
    pairs: Pairs = []
    chapters: list[Chapter] = []
    at = start + 4
    for _ in range(_MOST_BLOCKS):
        header = source.read(at, 4)
        kind, length = (
            (header[0] & 0x7F, int.from_bytes(header[1:], "big")) if len(header) == 4 else (_FORBIDDEN, 0)
        )
        if info is None:
            if kind != _STREAMINFO:
                raise UnreadableMedia("The FLAC stream info is missing.")
            if length != _STREAMINFO_SIZE:
                raise UnreadableMedia("The FLAC stream info is damaged.")
            info = parse_stream_info(source.read(at + 4, _STREAMINFO_SIZE))
        # Some encoders wrote pictures that are longer than the length field can hold; no block follows then.
        if kind == _FORBIDDEN or at + 4 + length > end:
            break
        if kind == _VORBIS_COMMENT and not pairs:
            pairs = read_comments(Forward(source, [(at + 4, at + 4 + length)]))
        elif kind == _CUESHEET and not chapters:
            chapters = list(_tracks(source.read(at + 4, min(length, _LARGEST_SHEET)), info.sample_rate))
        at += 4 + length
        if header[0] & 0x80:
            break
    assert info is not None
    return info, pairs, chapters, at


def _tracks(sheet: bytes, sample_rate: int) -> Iterator[Chapter]:
    """RFC 9639 §8.7. Tracks have no titles there; a single one is no chapter."""
    at, count = 396, sheet[395] if len(sheet) > 395 else 0
    for _ in range(count if count > 2 else 0):
        head = sheet[at : at + 36]
        if len(head) < 36:
            return
        offset, number = int.from_bytes(head[:8], "big"), head[8]
        if number not in _LEAD_OUT:
            yield Chapter(offset / sample_rate, None, f"Track {number}")
        at += 36 + 12 * head[35]


def _measured(
    source: Source, at: int, end: int, info: StreamInfo, tails: tuple[int, ...]
) -> tuple[StreamInfo, int | None]:
    """The stream info as its first frame confirms it, and the samples of all frames."""
    first = next(_frames(source.read(at, _LONGEST_HEADER), info, 1), None)
    if first is not None and first.at == 0:
        info = _confirmed(info, first)
    return info, _played(source, at, end, info, tails)


def _confirmed(info: StreamInfo, first: _Frame) -> StreamInfo:
    """Corrected by the first frame, as decoders do; UnreadableMedia where they would stop."""
    if first.bits not in (0, info.bits) or first.end > info.block_size:
        raise UnreadableMedia("The FLAC stream info contradicts the audio frames.")
    block_size = min(first.end, info.block_size) if first.end else info.block_size
    return replace(info, block_size=block_size, sample_rate=first.sample_rate or info.sample_rate)


def _played(source: Source, start: int, end: int, info: StreamInfo, tails: tuple[int, ...]) -> int | None:
    """Samples up to the end of the last whole frame; None when no frame is found.

    The stream info is a promise that a cut-off file breaks, and that a stream written to a pipe never makes.
    """
    for size in tails:
        offset = max(start, end - size)
        data = source.read(offset, end - offset)
        frames = [_Frame(0, 0, 0, 0, 0)] if offset == start else []
        frames += _frames(data, info)
        if frames and frames[-1].end == info.samples:
            return info.samples
        for before, frame in zip(reversed(frames[:-1]), reversed(frames[1:]), strict=True):
            if before.end == frame.first:
                # Frames, but not up to the announced end: the file is cut, or the announcement was wrong.
                is_whole = info.samples == 0 or _is_whole(data[frame.at :])
                return frame.end if is_whole else frame.first
        if offset == start:
            break
    return None


def _is_whole(frame: bytes) -> bool:
    """By the checksum in its last two bytes (RFC 9639 §9.3)."""
    crc = 0
    for byte in frame:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ byte]
    return crc == 0


def _frames(data: bytes, info: StreamInfo, most: int | None = None) -> Iterator[_Frame]:
    """Each frame header in `data` that passes its checksum."""
    for match in islice(_SYNC.finditer(data), most):
        # The longest header has 16 bytes; the frame of silence is shorter.
        header = data[match.start() : match.start() + 16].ljust(_LONGEST_HEADER, b"\0")
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
        at += extra
        sample_rate = _SAMPLE_RATES.get(rate, 0)
        if width := {12: 1, 13: 2, 14: 2}.get(rate, 0):
            factor = {12: 1000, 13: 1, 14: 10}[rate]
            sample_rate = int.from_bytes(header[at : at + width], "big") * factor
        at += width
        crc = 0
        for byte in header[:at]:
            crc = _CRC8[crc ^ byte]
        if code == 0 or crc != header[at]:
            continue
        first = number if header[1] & 1 else number * info.block_size
        bits = _BITS.get(header[3] >> 1 & 7, 0)
        yield _Frame(match.start(), first, first + block_size, sample_rate, bits)
