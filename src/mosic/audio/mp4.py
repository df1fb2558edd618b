"""ISO base media files (`.m4a`, `.m4b`, `.mp4`, `.mov`, `.3gp`; ISO/IEC 14496-12): the first track of sound.

A file is sound if it has such a track, whatever else it has: audio books carry their pictures as a track of
video, and of a film every player plays the sound. Only boxes on known paths are looked at.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from mosic.audio.names import MP4
from mosic.audio.sampleentry import describe
from mosic.audio.source import LARGEST_TEXT, Pairs, Sound, Source
from mosic.errors import UnreadableMedia, UnsupportedMedia

_MOST_TOP_BOXES = 200_000
_MOST_CHILDREN = 4096
_LARGEST_BOX = 1 << 20
_LARGEST_TABLE = 64 << 20
_LONGEST_TEXT = 64 << 10
_LONGEST_LEAD_IN = 60
_UNKNOWN = (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True, slots=True)
class _Box:
    """A box and where its payload lies; `end` is never beyond that of the box around it."""

    name: bytes
    start: int
    end: int
    whole: bool = True


@dataclass(frozen=True, slots=True)
class _Track:
    """The boxes of a track of sound, read as far as they are needed."""

    number: int
    description: bytes
    timescale: int
    length: int
    edits: tuple[int, int]
    """Sum of the edits in the movie's timescale, and where the first begins in the media, in the track's."""
    sample_bytes: int


def read(source: Source, start: int, end: int) -> Sound:
    """The file whose boxes begin at `start`."""
    moov: _Box | None = None
    track: _Track | None = None
    movie_timescale = default = fragments = data_bytes = 0
    holds_pictures = False
    for box in _boxes(source, start, end, _MOST_TOP_BOXES):
        if box.name == b"moov" and moov is None:
            if not box.whole:
                raise UnreadableMedia("The file ends within its index.")
            moov = box
            track = _sound_track(source, moov)
            movie_timescale = _times(source, _child(source, moov, b"mvhd"))[0]
            default = _default_length(source, moov, track.number)
        elif box.name == b"mdat":
            data_bytes += box.end - box.start
        elif box.name == b"meta":
            holds_pictures = True  # HEIF and AVIF: items, but no tracks
        elif box.name == b"moof" and track is not None:
            fragments += _fragment_length(source, box, track.number, default)
    if moov is None or track is None:
        if holds_pictures:
            raise UnsupportedMedia("This file has no track of sound.")
        raise UnreadableMedia("The file has no index ('moov'): it is cut off.")
    seconds = _seconds(track, movie_timescale, fragments)
    if track.sample_bytes > data_bytes:
        seconds = 0  # The index promises sound that is not in the file.
    codec, sample_rate, channels = describe(track.description)
    return Sound(
        media_type="audio/mp4",
        codec=codec,
        duration=seconds,
        bitrate=round((track.sample_bytes or data_bytes) * 8 / seconds) if seconds else None,
        sample_rate=sample_rate or track.timescale,
        channels=channels,
        tags=_tags(source, moov),
    )


def _boxes(source: Source, start: int, end: int, most: int = _MOST_CHILDREN) -> Iterator[_Box]:
    """The boxes that follow one another in `[start, end)`, as far as their sizes make sense."""
    at = start
    for _ in range(most):
        header = source.read(at, min(16, end - at))
        if len(header) < 8:
            return
        length, begin = int.from_bytes(header[:4], "big"), at + 8
        if length == 1:
            length, begin = int.from_bytes(header[8:16], "big"), at + 16
        elif length == 0:
            length = end - at
        if length < begin - at:
            return
        yield _Box(header[4:8], begin, min(at + length, end), at + length <= end)
        at += length


def _child(source: Source, box: _Box | None, *names: bytes) -> _Box | None:
    """The first box below `box` on the path of `names`."""
    for name in names:
        if box is None:
            return None
        box = next((child for child in _boxes(source, box.start, box.end) if child.name == name), None)
    return box


def _payload(source: Source, box: _Box | None, largest: int = _LARGEST_BOX) -> bytes:
    return source.read(box.start, min(box.end - box.start, largest)) if box else b""


def _numbers(data: bytes, at: int, size: int, count: int = 1) -> list[int]:
    """Big-endian numbers of `size` bytes; 0 for those beyond the end of the data."""
    return [int.from_bytes(data[at + size * i : at + size * (i + 1)], "big") for i in range(count)]


def _times(source: Source, box: _Box | None) -> tuple[int, int]:
    """Timescale and length from an `mvhd` or `mdhd` box; both 0 when unknown."""
    data = _payload(source, box, 64)
    if data[:1] == b"\x01":
        timescale, length = _numbers(data, 20, 4)[0], _numbers(data, 24, 8)[0]
    else:
        timescale, length = _numbers(data, 12, 4, 2)
    return timescale, 0 if length in _UNKNOWN else length


def _sound_track(source: Source, moov: _Box) -> _Track:
    for trak in _boxes(source, moov.start, moov.end):
        media = _child(source, trak, b"mdia") if trak.name == b"trak" else None
        if media is None:
            continue
        if _payload(source, _child(source, media, b"hdlr"), 12)[8:12] != b"soun":
            continue
        timescale, length = _times(source, _child(source, media, b"mdhd"))
        header = _payload(source, _child(source, trak, b"tkhd"), 32)
        table = _child(source, media, b"minf", b"stbl")
        return _Track(
            number=_numbers(header, 20 if header[:1] == b"\x01" else 12, 4)[0],
            description=_payload(source, _child(source, table, b"stsd"), 64 << 10),
            timescale=timescale,
            length=length,
            edits=_edits(_payload(source, _child(source, trak, b"edts", b"elst"))),
            sample_bytes=_sample_bytes(_payload(source, _child(source, table, b"stsz"), _LARGEST_TABLE)),
        )
    raise UnsupportedMedia("This file has no track of sound.")


def _edits(data: bytes) -> tuple[int, int]:
    """An edit that begins at -1 is silence before the sound: it is played too, and counts."""
    size = 8 if data[:1] == b"\x01" else 4
    count = min(_numbers(data, 4, 4)[0], (len(data) - 8) // (2 * size + 4)) if len(data) > 8 else 0
    edits = [_numbers(data, 8 + (2 * size + 4) * i, size, 2) for i in range(count)]
    begins = [begin for _, begin in edits if begin not in _UNKNOWN]
    return sum(length for length, _ in edits), begins[0] if begins else 0


def _sample_bytes(data: bytes) -> int:
    """Bytes of all samples, from an `stsz` box."""
    size, count = _numbers(data, 4, 4, 2)
    if size:
        return size * count
    there = max(len(data) - 12, 0) // 4
    sizes = array("I", data[12 : 12 + 4 * min(count, there)])
    if sys.byteorder == "little":
        sizes.byteswap()
    return sum(sizes)


def _default_length(source: Source, moov: _Box, number: int) -> int:
    """How long a sample lasts in the fragments that do not say so, from `mvex/trex`."""
    extends = _child(source, moov, b"mvex")
    for box in _boxes(source, extends.start, extends.end) if extends else ():
        data = _payload(source, box, 24)
        if box.name == b"trex" and _numbers(data, 4, 4)[0] == number:
            return _numbers(data, 12, 4)[0]
    return 0


def _fragment_length(source: Source, moof: _Box, number: int, default: int) -> int:
    """How long the samples of track `number` in a movie fragment last, in the track's timescale."""
    total = 0
    for traf in _boxes(source, moof.start, moof.end):
        header = _payload(source, _child(source, traf, b"tfhd"), 40) if traf.name == b"traf" else b""
        if len(header) < 8 or _numbers(header, 4, 4)[0] != number:
            continue
        if header[3] & 0x08:
            default = _numbers(header, 8 + 8 * (header[3] & 1) + 4 * (header[3] >> 1 & 1), 4)[0]
        for box in _boxes(source, traf.start, traf.end):
            if box.name == b"trun":
                total += _run_length(_payload(source, box), default)
    return total


def _run_length(data: bytes, default: int) -> int:
    flags, count = (*_numbers(data, 0, 4), *_numbers(data, 4, 4))
    if not flags & 0x100:
        return count * default
    at = 8 + 4 * (flags & 1) + 4 * (flags >> 2 & 1)
    width = 4 * (flags >> 8 & 15).bit_count()
    return sum(_numbers(data, each, 4)[0] for each in range(at, min(at + count * width, len(data)), width))


def _seconds(track: _Track, movie_timescale: int, fragments: int) -> float:
    edited, begins = track.edits
    if track.timescale == 0:
        return 0
    if fragments:
        return max(track.length + fragments - begins, 0) / track.timescale
    whole = track.length / track.timescale
    # What is longer than the sound is no edit that a player plays.
    if movie_timescale and 0 < edited / movie_timescale < whole + _LONGEST_LEAD_IN:
        return edited / movie_timescale
    return whole


def _tags(source: Source, moov: _Box) -> list[Pairs | bytes]:
    """The text tags as a small file of the same kind, and those that QuickTime keeps beside them."""
    user_data = _child(source, moov, b"udta")
    texts: Pairs = []
    for box in _boxes(source, user_data.start, user_data.end) if user_data else ():
        if box.name[0] == 0xA9:
            data = _payload(source, box, _LONGEST_TEXT)
            name = box.name.decode("latin-1")
            texts.append(
                (MP4.get(name, name[1:]), data[4 : 4 + _numbers(data, 0, 2)[0]].decode(errors="replace"))
            )
    meta = _child(source, user_data, b"meta")
    # ISO's box has a version before its children, QuickTime's has not.
    skipped = 0 if meta is None or source.read(meta.start + 4, 4) == b"hdlr" else 4
    listed = _child(source, _Box(b"meta", meta.start + skipped, meta.end), b"ilst") if meta else None
    items, room = [], LARGEST_TEXT
    for item in _boxes(source, listed.start, listed.end) if listed else ():
        if item.name != b"covr" and item.end - item.start <= room:
            items.append(_box(item.name, _payload(source, item, LARGEST_TEXT)))
            room -= len(items[-1])
    inner = _box(b"udta", _box(b"meta", bytes(4) + _box(b"ilst", b"".join(items))))
    return [_box(b"ftyp", b"M4A ") + _box(b"moov", inner), texts]


def _box(name: bytes, payload: bytes) -> bytes:
    return (len(payload) + 8).to_bytes(4, "big") + name + payload
