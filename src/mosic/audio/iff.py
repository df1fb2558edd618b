"""Chunked files: WAVE (RIFF, RF64, BW64) and AIFF, with their sound and their tags.

WAVE: Microsoft's "Multiple Channel Audio Data and WAVE Files"; RF64: EBU Tech 3306. AIFF-C: Apple, 1991.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mosic.audio import mpeg
from mosic.audio.source import LARGEST_TEXT, Pairs, Sound, Source
from mosic.audio.tagblocks import read_id3
from mosic.errors import UnreadableMedia

_MOST_CHUNKS = 4096
_LONGEST_TEXT = 64 << 10
_WAVE_CODECS = {
    1: "pcm", 2: "adpcm", 3: "pcm", 6: "alaw", 7: "mulaw", 0x11: "adpcm", 0x31: "gsm", 0x50: "mp2",
    0x55: "mp3", 0xFF: "aac", 0x160: "wma", 0x161: "wma", 0x162: "wma", 0x2000: "ac3", 0x2001: "dts",
    0xF1AC: "flac",
}  # fmt: skip
_LINEAR = (1, 3, 6, 7)
_ADPCM_MS, _ADPCM_IMA, _GSM = 0x02, 0x11, 0x31
_MPEG = 0x55
_AIFF_CODECS = {
    b"NONE": "pcm", b"sowt": "pcm", b"twos": "pcm", b"raw ": "pcm", b"in24": "pcm", b"in32": "pcm",
    b"fl32": "pcm", b"FL32": "pcm", b"fl64": "pcm", b"FL64": "pcm", b"ulaw": "mulaw",
    b"ULAW": "mulaw", b"alaw": "alaw", b"ALAW": "alaw", b"ima4": "adpcm", b"GSM ": "gsm",
}  # fmt: skip
_INFO_NAMES = {
    "INAM": "title", "IART": "artist", "IPRD": "album", "IGNR": "genre", "ICRD": "date", "YEAR": "date",
    "ITRK": "tracknumber", "IPRT": "tracknumber", "TRCK": "tracknumber", "ICMT": "comment",
    "ICOP": "copyright", "ISFT": "encodedby", "IENG": "engineer", "ITCH": "encodedby",
    "ICMS": "organization", "IKEY": "keywords",
    "ISBJ": "subject", "ILNG": "language", "IMUS": "composer", "IWRI": "lyricist", "IPRO": "producer",
    "ISRC": "source", "IFRM": "discnumber",
}  # fmt: skip
_AIFF_NAMES = {b"NAME": "title", b"AUTH": "artist", b"(c) ": "copyright", b"ANNO": "comment"}


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk and where its data lies; `end` is never beyond that of what it is in."""

    name: bytes
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


def _chunks(
    source: Source, start: int, end: int, order: Literal["little", "big"], data_size: int = 0
) -> Iterator[_Chunk]:
    """The chunks that follow one another in `[start, end)`.

    A recorder that wrote to a pipe or was cut off leaves 0 or the largest number as the size of `data`: then
    it is all the rest, unless RF64 says the size elsewhere (`data_size`).
    """
    at = start
    for _ in range(_MOST_CHUNKS):
        header = source.read(at, min(8, end - at))
        if len(header) < 8:
            return
        size = int.from_bytes(header[4:], order)
        if header[:4] == b"data" and size in (0, 0xFFFFFFFF):
            size = data_size or end - at - 8
        yield _Chunk(header[:4], at + 8, min(at + 8 + size, end))
        at += 8 + size + size % 2


def read_wave(source: Source, start: int, end: int) -> Sound:
    """The WAVE file whose RIFF, RF64 or BW64 header stands at `start`."""
    form = b""
    data: _Chunk | None = None
    announced = 0
    info: Pairs = []
    tags: list[Pairs | bytes] = []
    ds64 = source.read(start + 12, 44)
    data_size = int.from_bytes(ds64[16:24], "little") if ds64.startswith(b"ds64") else 0
    for chunk in _chunks(source, start + 12, end, "little", data_size):
        match chunk.name:
            case b"fmt ":
                form = form or source.read(chunk.start, min(chunk.size, 64))
            case b"data":
                data = data or chunk
            case b"fact":
                announced = int.from_bytes(source.read(chunk.start, 4), "little")
            case b"LIST" if source.read(chunk.start, 4) == b"INFO":
                info += _info(source, chunk)
            case b"id3 " | b"ID3 ":
                tags += read_id3(source, chunk.start)
    if len(form) < 16:
        raise UnreadableMedia("The WAVE file does not say what its sound is like ('fmt ').")
    kind, channels, sample_rate, byte_rate, block, bits = struct.unpack("<HHIIHH", form[:16])
    if kind == 0xFFFE:  # WAVE_FORMAT_EXTENSIBLE: the kind is in the first bytes of a GUID
        kind = int.from_bytes(form[24:26], "little")
    if sample_rate == 0 or channels == 0:
        raise UnreadableMedia("The WAVE file has no sample rate or no channels.")
    size = data.size if data else 0
    bitrate: int | None = None
    if kind in _LINEAR:
        seconds = size / (block or channels * max(bits // 8, 1)) / sample_rate
    elif (
        kind == _MPEG
        and data
        and (first := mpeg.SYNTAX.find(source.read(data.start, 1 << 16), ends=False)) is not None
    ):
        frames = mpeg.read(source, data.start + first, data.end)
        seconds, bitrate = frames.duration or 0, frames.bitrate
    elif kind in (_ADPCM_MS, _ADPCM_IMA, _GSM) and block:
        seconds = size / block * _samples_per_block(kind, block, channels) / sample_rate
        # The last block is filled up; how far it is meant to be heard is told apart, and not always right.
        if seconds and 0.9 < announced / sample_rate / seconds < 1:
            seconds = announced / sample_rate
    else:
        seconds = size / byte_rate if byte_rate else 0
        if seconds and 0.5 < announced / sample_rate / seconds < 1.5:
            seconds = announced / sample_rate
    return Sound(
        media_type="audio/wav",
        codec=_WAVE_CODECS.get(kind, f"wav-{kind:04x}"),
        duration=seconds,
        bitrate=bitrate or (round(size * 8 / seconds) if seconds else None),
        sample_rate=sample_rate,
        channels=channels,
        tags=[*tags, info],
    )


def _samples_per_block(kind: int, block: int, channels: int) -> int:
    """Some leave this number out of the header, so it is worked out: four bits a sample behind a preamble."""
    if kind == _GSM:
        return 320
    preamble, samples = (7, 2) if kind == _ADPCM_MS else (4, 1)
    return max(block - preamble * channels, 0) * 2 // channels + samples


def _info(source: Source, chunk: _Chunk) -> Pairs:
    pairs: Pairs = []
    room = LARGEST_TEXT
    for item in _chunks(source, chunk.start + 4, chunk.end, "little"):
        name = item.name.decode("latin-1")
        text = _text(source.read(item.start, min(item.size, _LONGEST_TEXT)))
        room -= len(text)
        if room < 0:
            break
        pairs.append((_INFO_NAMES.get(name.upper(), name.strip()), text))
    return pairs


def _text(raw: bytes) -> str:
    """Nothing says how these texts are encoded: UTF-8 if they can be read so, else as Windows does."""
    raw = raw.split(b"\0", 1)[0]
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")


def read_aiff(source: Source, start: int, end: int) -> Sound:
    """The AIFF or AIFF-C file whose FORM header stands at `start`."""
    common = b""
    sound: _Chunk | None = None
    pairs: Pairs = []
    tags: list[Pairs | bytes] = []
    for chunk in _chunks(source, start + 12, end, "big"):
        if chunk.name == b"COMM":
            common = common or source.read(chunk.start, min(chunk.size, 64))
        elif chunk.name == b"SSND":
            sound = sound or chunk
        elif chunk.name in (b"ID3 ", b"id3 "):
            tags += read_id3(source, chunk.start)
        elif name := _AIFF_NAMES.get(chunk.name):
            pairs.append((name, _text(source.read(chunk.start, min(chunk.size, _LONGEST_TEXT)))))
    if len(common) < 18:
        raise UnreadableMedia("The AIFF file does not say what its sound is like ('COMM').")
    channels, frames, bits, exponent, mantissa = struct.unpack(">HIHHQ", common[:18])
    # An 80-bit extended float; no recorder's rate has an exponent outside these.
    exponent -= 16383
    sample_rate = mantissa / (1 << (63 - exponent)) if 0 <= exponent < 31 else 0
    if sample_rate < 1 or channels == 0:
        raise UnreadableMedia("The AIFF file has no sample rate or no channels.")
    codec = _AIFF_CODECS.get(common[18:22], "") if len(common) >= 22 else "pcm"
    there = max(sound.size - 8, 0) if sound else 0
    if codec == "pcm":
        frames = min(frames, there // (channels * max((bits + 7) // 8, 1)))
    elif common[18:22] == b"ima4":
        frames = there // (34 * channels) * 64
    seconds = frames / sample_rate
    return Sound(
        media_type="audio/aiff",
        codec=codec or "aiff",
        duration=seconds,
        bitrate=round(there * 8 / seconds) if seconds else None,
        sample_rate=round(sample_rate),
        channels=channels,
        tags=[*tags, pairs],
    )
