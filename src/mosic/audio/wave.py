"""WAVE in its forms (`.wav`, `.w64`): RIFF, RIFX, RF64, BW64 and Wave64, with their sound and their tags.

Microsoft's "Multiple Channel Audio Data and WAVE Files"; RF64: EBU Tech 3306; Sony's "Wave64".
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from mosic.audio import broadcast, mpeg
from mosic.audio.chunks import LONGEST_TEXT, MOST_CHUNKS, Chunk, Order, chunks, text_of, wave64_chunks
from mosic.audio.source import LARGEST_TEXT, Pairs, Sound, Source
from mosic.audio.tagblocks import read_id3
from mosic.audio.texts import decode
from mosic.errors import UnreadableMedia

_WAVE_CODECS = {
    1: "pcm", 2: "adpcm", 3: "pcm", 6: "alaw", 7: "mulaw", 0x11: "adpcm", 0x31: "gsm", 0x50: "mp2",
    0x55: "mp3", 0xFF: "aac", 0x160: "wma", 0x161: "wma", 0x162: "wma", 0x2000: "ac3", 0x2001: "dts",
    0xF1AC: "flac",
}  # fmt: skip
_LINEAR = (1, 3, 6, 7)
_ADPCM_MS, _ADPCM_IMA, _GSM = 0x02, 0x11, 0x31
_MPEG = 0x55
_INFO_NAMES = {
    "INAM": "title", "IART": "artist", "IPRD": "album", "IGNR": "genre", "ICRD": "date", "YEAR": "date",
    "ITRK": "tracknumber", "IPRT": "tracknumber", "TRCK": "tracknumber", "ICMT": "comment",
    "ICOP": "copyright", "ISFT": "encodedby", "IENG": "engineer", "ITCH": "encodedby",
    "ICMS": "organization", "IKEY": "keywords",
    "ISBJ": "subject", "ILNG": "language", "IMUS": "composer", "IWRI": "lyricist", "IPRO": "producer",
    "ISRC": "source", "IFRM": "discnumber",
}  # fmt: skip


def read(source: Source, start: int, end: int, *, most_chunks: int = MOST_CHUNKS) -> Sound:
    """The file whose RIFF, RIFX, RF64 or BW64 header stands at `start`.

    What lies behind so many chunks is not looked at: without its sound a file has no duration.
    """
    order: Order = "big" if source.read(start, 4) == b"RIFX" else "little"
    ds64 = source.read(start + 12, 44)
    data_size = int.from_bytes(ds64[16:24], "little") if ds64.startswith(b"ds64") else 0
    found = chunks(source, start + 12, end, order, data_size=data_size, most=most_chunks)
    return _read(source, found, order, "audio/wav")


def read_wave64(source: Source, start: int, end: int, *, most_chunks: int = MOST_CHUNKS) -> Sound:
    """The Wave64 file whose header stands at `start`."""
    return _read(source, wave64_chunks(source, start + 40, end, most=most_chunks), "little", "audio/x-w64")


def _read(source: Source, found: Iterable[Chunk], order: Order, media_type: str) -> Sound:
    form = b""
    data: Chunk | None = None
    announced = 0
    info: Pairs = []
    tags: list[Pairs | bytes] = []
    notes: list[Pairs] = []
    for chunk in found:
        match chunk.name:
            case b"fmt ":
                form = form or source.read(chunk.start, min(chunk.size, 64))
            case b"data":
                data = data or chunk
            case b"fact":
                announced = int.from_bytes(source.read(chunk.start, 4), order)
            case b"LIST" if source.read(chunk.start, 4) == b"INFO":
                info += _info(source, chunk, order)
            case b"bext":
                notes.append(
                    broadcast.read_bext(source.read(chunk.start, min(chunk.size, broadcast.LARGEST)))
                )
            case b"cart":
                notes.insert(0, broadcast.read_cart(source.read(chunk.start, min(chunk.size, LONGEST_TEXT))))
            case b"iXML":
                notes.append(
                    broadcast.read_ixml(source.read(chunk.start, min(chunk.size, broadcast.LARGEST)))
                )
            case b"id3 " | b"ID3 ":
                tags += read_id3(source, chunk.start)
    if len(form) < 16:
        raise UnreadableMedia("The WAVE file does not describe its audio: the chunk 'fmt ' is missing.")
    kind, channels, sample_rate, byte_rate, block, bits = struct.unpack(
        (">" if order == "big" else "<") + "HHIIHH", form[:16]
    )
    if kind == 0xFFFE:  # WAVE_FORMAT_EXTENSIBLE: the kind is in the first bytes of a GUID
        kind = int.from_bytes(form[24:26], order)
    if sample_rate == 0 or channels == 0:
        raise UnreadableMedia("The WAVE file states no sample rate or no channels.")
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
        # The last block is padded. The number of samples is given elsewhere, and is not always right.
        if seconds and 0.9 < announced / sample_rate / seconds < 1:
            seconds = announced / sample_rate
    else:
        seconds = size / byte_rate if byte_rate else 0
        if seconds and 0.5 < announced / sample_rate / seconds < 1.5:
            seconds = announced / sample_rate
    return Sound(
        media_type=media_type,
        codec=_WAVE_CODECS.get(kind, f"wav-{kind:04x}"),
        duration=seconds,
        bitrate=bitrate or (round(size * 8 / seconds) if seconds else None),
        sample_rate=sample_rate,
        channels=channels,
        tags=[*tags, info, *notes],
    )


def _samples_per_block(kind: int, block: int, channels: int) -> int:
    """Computed where the header leaves it out: four bits a sample after a preamble."""
    if kind == _GSM:
        return 320
    preamble, samples = (7, 2) if kind == _ADPCM_MS else (4, 1)
    return max(block - preamble * channels, 0) * 2 // channels + samples


def _info(source: Source, chunk: Chunk, order: Order) -> Pairs:
    pairs: Pairs = []
    room = LARGEST_TEXT
    for item in chunks(source, chunk.start + 4, chunk.end, order):
        name = item.name.decode("latin-1")
        text = decode(text_of(source, item), cut=item.size > LONGEST_TEXT)
        room -= len(text)
        if room < 0:
            break
        pairs.append((_INFO_NAMES.get(name.upper(), name.strip()), text))
    return pairs
