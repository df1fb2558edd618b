"""Apple's Core Audio Format (`.caf`), in which iPhones and Macs record."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from mosic.audio.sampleentry import decoder_channels
from mosic.audio.source import LARGEST_TEXT, Pairs, Sound, Source
from mosic.audio.texts import decode
from mosic.errors import UnreadableMedia

_MOST_CHUNKS = 4096
_LARGEST_TABLE = 16 << 20
_MOST_STRINGS = 4096
_CODECS = {
    b"lpcm": "pcm", b"aac ": "aac", b"aach": "aac", b"aacp": "aac", b"aacl": "aac", b"alac": "alac",
    b"opus": "opus", b"ima4": "adpcm", b"ulaw": "mulaw", b"alaw": "alaw", b".mp3": "mp3", b".mp2": "mp2",
    b".mp1": "mp1", b"ac-3": "ac3", b"ec-3": "eac3", b"flac": "flac", b"samr": "amr", b"sawb": "amr-wb",
    b"MAC3": "mace", b"MAC6": "mace", b"ilbc": "ilbc",
}  # fmt: skip
_NAMES = {
    "recorded date": "date", "track number": "tracknumber", "comments": "comment", "approximate duration": "",
    "encoding application": "encodedby", "source encoder": "encodedby", "key signature": "key",
    "channel layout": "",
}  # fmt: skip
_MAGIC_COOKIE = 256


@dataclass(slots=True)
class _Found:
    table: tuple[int, int] | None = None
    data: tuple[int, int] | None = None
    cookie: bytes = b""


def read(source: Source, start: int, end: int, *, largest_table: int = _LARGEST_TABLE) -> Sound:
    """The file whose `caff` stands at `start`.

    Of a packet table that is larger, only the beginning is read, and the duration is an estimate.
    """
    description = source.read(start + 8, 44)
    if len(description) < 44 or not description.startswith(b"desc"):
        raise UnreadableMedia("The file does not describe its audio: the chunk 'desc' is missing.")
    rate, kind, _, packet_bytes, packet_frames, channels, _ = struct.unpack(">d4s5I", description[12:])
    if not math.isfinite(rate) or not 1 <= rate < 2**31 or channels == 0:
        raise UnreadableMedia("The file states no sample rate or no channels.")
    found = _Found()
    tags: list[Pairs | bytes] = []
    at = start + 8
    for _ in range(_MOST_CHUNKS):
        header = source.read(at, min(12, end - at))
        if len(header) < 12:
            break
        size = int.from_bytes(header[4:], "big", signed=True)
        # A recorder that was interrupted leaves -1: then the sound is the rest of the file.
        begin, stop = at + 12, end if size < 0 else min(at + 12 + size, end)
        if header[:4] == b"data":
            found.data = found.data or (min(begin + 4, stop), stop)
        elif header[:4] == b"pakt":
            found.table = (begin, stop)
        elif header[:4] == b"kuki":
            found.cookie = source.read(begin, min(stop - begin, _MAGIC_COOKIE))
        elif header[:4] == b"info":
            tags.append(_strings(source, begin, stop))
        if size < 0:
            break
        at = begin + size
    frames = 0.0
    if found.data and packet_bytes:
        frames = (found.data[1] - found.data[0]) // packet_bytes * packet_frames
    elif found.data and found.table:
        frames = _frames(source, found.table, found.data, packet_frames, largest_table)
    seconds = frames / rate
    sound_bytes = found.data[1] - found.data[0] if found.data else 0
    return Sound(
        media_type="audio/x-caf",
        codec=_CODECS.get(kind, kind.decode("latin-1").strip(" .\0").lower()),
        duration=seconds,
        bitrate=round(sound_bytes * 8 / seconds) if seconds else None,
        sample_rate=round(rate),
        channels=decoder_channels(found.cookie) or channels if kind == b"aac " else channels,
        tags=tags,
    )


def _frames(
    source: Source, table: tuple[int, int], data: tuple[int, int], packet_frames: int, largest: int
) -> float:
    """By the packet table: without priming and padding, and without packets that are missing."""
    header = source.read(table[0], 24)
    if len(header) < 24:
        return 0
    packets, valid, priming, remainder = struct.unpack(">qqii", header)
    raw = source.read(table[0] + 24, min(table[1] - table[0] - 24, largest))
    room, heard, seen = data[1] - data[0], 0, 0
    number = has_size = 0
    for byte in raw:
        number = number << 7 | byte & 0x7F
        if byte & 0x80:
            continue
        if not has_size:
            if number > room or seen == packets:
                break
            room -= number
        if packet_frames or has_size:
            heard += packet_frames or number
            seen += 1
        has_size = not packet_frames and not has_size
        number = 0
    is_all = seen == packets
    if not is_all and len(raw) == largest and seen:
        # Only a part of the table was read.
        return float(valid) if valid > 0 else heard * packets / seen
    heard -= max(priming, 0) + (max(remainder, 0) if is_all else 0)
    return float(max(min(heard, valid) if is_all and valid > 0 else heard, 0))


def _strings(source: Source, begin: int, end: int) -> Pairs:
    count = int.from_bytes(source.read(begin, 4), "big")
    parts = source.read(begin + 4, min(end - begin - 4, LARGEST_TEXT)).split(b"\0")
    pairs: Pairs = []
    for name, value in list(zip(parts[::2], parts[1::2], strict=False))[: min(count, _MOST_STRINGS)]:
        known = decode(name)
        pairs.append((_NAMES.get(known, known), decode(value)))
    return pairs
