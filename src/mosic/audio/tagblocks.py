"""ID3 and APE tags around the sound: where they lie, and what they say, their pictures left unread.

A cover may have a hundred megabytes; it is passed over, so that what goes on to mutagen stays small.
ID3v2: https://id3.org/id3v2.4.0-structure, id3v2.3.0 and id3v2-00; APEv2:
https://wiki.hydrogenaud.io/index.php?title=APEv2_specification
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mosic.audio.id3_timed import MOST_READ, NAMES, TimedFrames
from mosic.audio.id3texts import DATE_FRAMES, dates, reformed, unwrapped
from mosic.audio.source import LARGEST_TEXT, Pairs, Source
from mosic.audio.texts import decode

_MOST_TAGS = 1000
_MOST_TAGS_READ = 3
_MOST_FRAMES = 1024
_LARGEST_UNSYNCHRONISED = 16 << 20
_LONGEST_APE_VALUE = 64 << 10
_TEXT_FRAMES = (b"T", b"W", b"COM", b"USLT", b"ULT", b"UFI", b"IPL")
_UNSYNCHRONISED, _EXTENDED, _FOOTER = 0x80, 0x40, 0x10
_APE_HAS_HEADER, _APE_HEADER = 0x80, 0x20

_Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The sound lies in `[start, end)`; the tags are around it, the most trusted first."""

    start: int
    end: int
    tags: list[Pairs | bytes] = field(default_factory=list)
    timed: list[TimedFrames] = field(default_factory=list)


def look_around(source: Source) -> Surroundings:
    """Find the tags before and behind the sound, in a file of any format."""
    tags: list[Pairs | bytes] = []
    timed: list[TimedFrames] = []
    start = 0
    for count in range(_MOST_TAGS):
        head = source.read(start, 32)
        size = _id3_size(head)
        if size is not None:
            tags += read_id3(source, start, timed) if count < _MOST_TAGS_READ else []
        elif head.startswith(b"APETAGEX") and len(head) == 32 and head[23] & _APE_HEADER:
            size = 32 + int.from_bytes(head[12:16], "little")
            tags += [_read_ape(source, start + 32, start + size)] if count < _MOST_TAGS_READ else []
        else:
            break
        start = min(start + size, source.size)
    end = source.size
    last: list[Pairs | bytes] = []
    for _ in range(_MOST_TAGS):
        tail = source.read(max(end - 128, start), min(128, end - start))
        # First: an APEv2 tag of 131 bytes has «TAG» where ID3v1 has it.
        if tail[-32:-24] == b"APETAGEX":
            size = int.from_bytes(tail[-20:-16], "little")
            tags.append(_read_ape(source, max(end - size, start), end - 32))
            size += 32 if tail[-9] & _APE_HAS_HEADER else 0
        elif len(tail) == 128 and tail.startswith(b"TAG"):
            last.append(tail)
            size = 128
        elif tail.endswith(b"LYRICS200") and tail[-15:-9].isdigit():
            size = int(tail[-15:-9]) + 15
        else:
            break
        end = max(end - size, start)
    return Surroundings(start, end, tags + last, timed)


def read_id3(source: Source, start: int, timed: list[TimedFrames] | None = None) -> list[Pairs | bytes]:
    """The dates in the ID3v2 tag at `start`, and its other text frames as a small tag of the same version;
    what there is of either.

    The texts are in UTF-8, and the frames neither compressed nor unsynchronised. Its frames with times are
    added to `timed`.
    """
    header = source.read(start, 10)
    size = _id3_size(header)
    if size is None or header[3] not in (2, 3, 4):
        return []
    version, flags, length = header[3], header[5], _synchsafe(header[6:10])
    unsynchronised = bool(flags & _UNSYNCHRONISED)
    read: _Read
    if unsynchronised and version < 4:
        if length > _LARGEST_UNSYNCHRONISED:
            return []
        body = source.read(start + 10, length).replace(b"\xff\x00", b"\xff")
        length = len(body)

        def read(at: int, count: int) -> bytes:
            return body[at : at + count]
    else:

        def read(at: int, count: int) -> bytes:
            return source.read(start + 10 + at, min(count, length - at))

    at = _extended_header(version, read(0, 4)) if flags & _EXTENDED else 0
    with_times = TimedFrames(version)
    if timed is not None:
        timed.append(with_times)
    frames, dated = _text_frames(version, read, at, length, with_times, unsynchronised=unsynchronised)
    found: list[Pairs | bytes] = [dates(dated)] if dated else []
    if frames:
        found.append(b"ID3" + bytes((version, 0, 0)) + _to_synchsafe(len(frames)) + frames)
    return found


def _text_frames(
    version: int, read: _Read, at: int, end: int, timed: TimedFrames, *, unsynchronised: bool
) -> tuple[bytes, dict[bytes, bytes]]:
    """The frames without dates, and those with dates by their names."""
    frames: list[bytes] = []
    dated: dict[bytes, bytes] = {}
    room = LARGEST_TEXT
    width = 6 if version == 2 else 10
    for _ in range(_MOST_FRAMES):
        header = read(at, width)
        if len(header) < width or not _is_frame_id(header, version):
            break
        if version == 2:
            length = int.from_bytes(header[3:6], "big")
        elif version == 3:
            length = int.from_bytes(header[4:8], "big")
        else:
            length = _length_24(header, read, at, end)
        if header.startswith(NAMES) and room > 0:
            raw = read(at + width, min(length, MOST_READ))
            room -= len(raw)
            flags = header[9] if version > 2 else 0
            content = unwrapped(version, flags, raw, unsynchronised=unsynchronised, room=room)
            if content:
                timed.add(header[: 3 if version == 2 else 4].rstrip(b"\0"), content)
        elif header.startswith(_TEXT_FRAMES) and length <= room:
            raw = read(at + width, length)
            room -= length
            flags = header[9] if version > 2 else 0
            content = unwrapped(version, flags, raw, unsynchronised=unsynchronised, room=room)
            if content:
                content = reformed(header, content)
                room -= len(content)
                name = header[: 3 if version == 2 else 4].rstrip(b"\0")
                if name in (b"USLT", b"ULT"):
                    timed.add(name, content)
                if name in DATE_FRAMES:
                    dated.setdefault(name, content)
                else:
                    frames.append(_frame(version, header, content))
        at += width + length
    return b"".join(frames), dated


def _frame(version: int, header: bytes, content: bytes) -> bytes:
    if version == 2:
        return header[:3] + len(content).to_bytes(3, "big") + content
    size = _to_synchsafe(len(content)) if version == 4 else len(content).to_bytes(4, "big")
    return header[:4] + size + b"\0\0" + content


def _length_24(header: bytes, read: _Read, at: int, end: int) -> int:
    """Synchsafe by the standard, plain as iTunes wrote it: whichever leads to the next frame."""
    lengths = (_synchsafe(header[4:8]), int.from_bytes(header[4:8], "big"))
    for length in lengths if max(header[4:8]) < 0x80 else lengths[1:]:
        following = read(at + 10 + length, 4)
        if at + 10 + length == end or following == bytes(4) or _is_frame_id(following, 4):
            return length
    return lengths[0]


def _is_frame_id(header: bytes, version: int) -> bool:
    # Some wrote the three-letter names of version 2.2 into tags of version 2.3.
    name = header[:3] if version == 2 or header[3:4] == b"\0" else header[:4]
    return name.isalnum() and name.isupper()


def _extended_header(version: int, first: bytes) -> int:
    if first.isalnum() or len(first) < 4:
        return 0
    return _synchsafe(first) if version == 4 else int.from_bytes(first, "big") + 4


def _id3_size(header: bytes) -> int | None:
    if len(header) < 10 or header[:3] != b"ID3" or 0xFF in header[3:5] or max(header[6:10]) >= 0x80:
        return None
    return _synchsafe(header[6:10]) + (20 if header[5] & _FOOTER and header[3] == 4 else 10)


def _synchsafe(data: bytes) -> int:
    return data[0] << 21 | data[1] << 14 | data[2] << 7 | data[3]


def _to_synchsafe(number: int) -> bytes:
    return bytes((number >> 21 & 0x7F, number >> 14 & 0x7F, number >> 7 & 0x7F, number & 0x7F))


def _read_ape(source: Source, at: int, end: int) -> Pairs:
    """The text items that lie in `[at, end)`."""
    pairs: Pairs = []
    room = LARGEST_TEXT
    for _ in range(_MOST_FRAMES):
        head = source.read(at, min(8 + 256, end - at))
        name, separator, _ = head[8:].partition(b"\0")
        if not separator:
            break
        length, kind = int.from_bytes(head[:4], "little"), head[4] >> 1 & 3
        at += 9 + len(name)
        if kind != 1 and at + length <= end and room > 0:
            value = decode(source.read(at, min(length, _LONGEST_APE_VALUE)), cut=length > _LONGEST_APE_VALUE)
            room -= len(value)
            pairs += [(name.decode("ascii", "replace"), part) for part in value.split("\0")]
        at += length
    return pairs
