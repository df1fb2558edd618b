"""Matroska and WebM (RFC 9559, EBML: RFC 8794): the first track of sound, measured by its blocks.

Browsers record into WebM, and write neither a length nor the sizes of what goes on and on.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from mosic.audio.source import LARGEST_TEXT, Pairs, Sound, Source
from mosic.errors import UnreadableMedia, UnsupportedMedia

_EBML, _DOC_TYPE, _SEGMENT = 0x1A45DFA3, 0x4282, 0x18538067
_INFO, _TIMESTAMP_SCALE, _DURATION, _TITLE = 0x1549A966, 0x2AD7B1, 0x4489, 0x7BA9
_TRACKS, _TRACK, _NUMBER, _TYPE, _CODEC = 0x1654AE6B, 0xAE, 0xD7, 0x83, 0x86
_AUDIO, _SAMPLE_RATE, _OUTPUT_SAMPLE_RATE, _CHANNELS = 0xE1, 0xB5, 0x78B5, 0x9F
_CLUSTER, _TIMESTAMP, _SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK = 0x1F43B675, 0xE7, 0xA3, 0xA0, 0xA1
_TAGS, _TAG, _TARGETS, _LEVEL, _SIMPLE_TAG = 0x1254C367, 0x7373, 0x63C0, 0x68CA, 0x67C8
_NAME, _STRING = 0x45A3, 0x4487
_IS_SOUND = 2
_ALBUM = 50
_MOST_ELEMENTS = 400_000
_MOST_CHILDREN = 4096
_LONGEST_STRING = 64 << 10
_CODECS = {
    "A_OPUS": "opus", "A_VORBIS": "vorbis", "A_FLAC": "flac", "A_ALAC": "alac", "A_AC3": "ac3",
    "A_EAC3": "eac3", "A_MPEG/L1": "mp1", "A_MPEG/L2": "mp2", "A_MPEG/L3": "mp3", "A_DTS": "dts",
    "A_TTA1": "tta", "A_WAVPACK4": "wavpack", "A_TRUEHD": "truehd",
}  # fmt: skip
_NAMES = {
    "PART_NUMBER": "tracknumber",
    "TOTAL_PARTS": "tracktotal",
    "DATE_RELEASED": "date",
    "DATE_RECORDED": "date",
}
_NAMES_OF_ALBUM = _NAMES | {"TITLE": "album", "ARTIST": "albumartist", "PART_NUMBER": "discnumber"}
# What programs that write files note down for themselves.
_NOT_FOR_PEOPLE = ("_STATISTICS", "BPS", "DURATION", "NUMBER_OF_", "SOURCE_ID")


@dataclass(frozen=True, slots=True)
class _Element:
    """An element and where its data lies; `whole` unless its size is unknown or more than there is."""

    kind: int
    start: int
    end: int
    whole: bool


@dataclass(slots=True)
class _Segment:
    """What is known of the file so far. Timestamps are in units of `scale` nanoseconds."""

    end: int
    scale: int = 1_000_000
    announced: float = 0
    track: int = 0
    codec: str = ""
    sample_rate: float = 8000
    channels: int = 1
    timestamps: list[int] = field(default_factory=list)
    """That of the first block of sound, and of the last two."""
    sound_bytes: int = 0
    walked_to: int = 0
    pairs: Pairs = field(default_factory=list)

    def note(self, timestamp: int, size: int) -> None:
        if len(self.timestamps) == 3:
            del self.timestamps[1]
        self.timestamps.append(timestamp)
        self.sound_bytes += size

    @property
    def seconds(self) -> float:
        """By the blocks. What is announced is finer: taken if it agrees, or if the blocks were too many."""
        announced = self.announced * self.scale / 1e9
        if len(self.timestamps) < 2:
            return announced if self.timestamps else 0
        first, before, last = self.timestamps[0], self.timestamps[-2], self.timestamps[-1]
        measured = (last - first + last - before) * self.scale / 1e9
        trusted = abs(announced - measured) < 1 or (announced and self.walked_to < self.end)
        return announced if trusted else measured


def read(source: Source, start: int, end: int) -> Sound:
    """The file whose EBML header stands at `start`."""
    header = _element_at(source, start, end)
    segment = _element_at(source, header.end, end) if header and header.kind == _EBML else None
    if header is None or segment is None or segment.kind != _SEGMENT:
        raise UnreadableMedia("The file ends before its sound begins.")
    found = _Segment(segment.end)
    has_tracks = False
    timestamp = 0
    for element in _all_elements(source, segment):
        found.walked_to = element.end
        if element.kind == _INFO:
            _read_info(source, element, found)
        elif element.kind == _TRACKS:
            has_tracks = True
            _read_tracks(source, element, found)
        elif element.kind == _TAGS:
            found.pairs = _read_tags(source, element) + found.pairs
        elif element.kind == _TIMESTAMP:
            timestamp = _number(source, element)
        elif element.kind in (_SIMPLE_BLOCK, _BLOCK) and element.whole:
            track, relative = _block_header(source.read(element.start, 10))
            if track == found.track:
                found.note(timestamp + relative, element.end - element.start - 4)
    if has_tracks and not found.track:
        raise UnsupportedMedia("This file has no track of sound.")
    if not found.track:
        raise UnreadableMedia("The file ends before its sound begins.")
    seconds = found.seconds
    return Sound(
        media_type="audio/webm"
        if _text(source, _child(source, header, _DOC_TYPE)) == "webm"
        else "audio/matroska",
        codec=found.codec,
        duration=seconds,
        bitrate=round(found.sound_bytes * 8 / seconds) if seconds else None,
        sample_rate=48000 if found.codec == "opus" else round(found.sample_rate),
        channels=found.channels,
        tags=[found.pairs],
    )


def _element_at(source: Source, at: int, end: int) -> _Element | None:
    header = source.read(at, min(12, end - at))
    if not header or not header[0] >= 0x10:
        return None
    width = 9 - header[0].bit_length()
    kind = int.from_bytes(header[:width], "big")
    if len(header) <= width or header[width] == 0:
        return None
    size, size_width = _variable(header, width)
    begin = at + width + size_width
    unknown = size == (1 << 7 * size_width) - 1
    return _Element(
        kind, begin, end if unknown else min(begin + size, end), not unknown and begin + size <= end
    )


def _variable(data: bytes, at: int) -> tuple[int, int]:
    """A number that says its own width by its leading zeros, and that width."""
    width = 9 - data[at].bit_length()
    return int.from_bytes(data[at : at + width], "big") & (1 << 7 * width) - 1, width


def _all_elements(source: Source, segment: _Element) -> Iterator[_Element]:
    """What is in the segment, and in its clusters and groups of blocks as if these did not enclose it.

    So it does not matter where they end, which is often not written.
    """
    at = segment.start
    for _ in range(_MOST_ELEMENTS):
        element = _element_at(source, at, segment.end)
        if element is None:
            return
        if element.kind in (_CLUSTER, _BLOCK_GROUP):
            at = element.start
        else:
            yield element
            at = element.end


def _children(source: Source, parent: _Element) -> Iterator[_Element]:
    at = parent.start
    for _ in range(_MOST_CHILDREN):
        element = _element_at(source, at, parent.end)
        if element is None:
            return
        yield element
        at = element.end


def _child(source: Source, parent: _Element | None, kind: int) -> _Element | None:
    children = _children(source, parent) if parent else ()
    return next((element for element in children if element.kind == kind), None)


def _number(source: Source, element: _Element | None) -> int:
    return (
        int.from_bytes(source.read(element.start, min(element.end - element.start, 8)), "big")
        if element
        else 0
    )


def _float(source: Source, element: _Element | None) -> float:
    data = source.read(element.start, min(element.end - element.start, 8)) if element else b""
    number: float = struct.unpack(">f" if len(data) == 4 else ">d", data)[0] if len(data) in (4, 8) else 0.0
    return number if math.isfinite(number) and 0 < number < 1e15 else 0.0


def _text(source: Source, element: _Element | None) -> str:
    data = source.read(element.start, min(element.end - element.start, _LONGEST_STRING)) if element else b""
    return data.decode(errors="replace").rstrip("\0")


def _block_header(data: bytes) -> tuple[int, int]:
    """Track, and timestamp relative to the cluster's."""
    if not data or data[0] == 0:
        return 0, 0
    track, width = _variable(data, 0)
    return track, int.from_bytes(data[width : width + 2], "big", signed=True)


def _read_info(source: Source, info: _Element, found: _Segment) -> None:
    found.scale = _number(source, _child(source, info, _TIMESTAMP_SCALE)) or found.scale
    found.announced = _float(source, _child(source, info, _DURATION))
    if title := _text(source, _child(source, info, _TITLE)):
        found.pairs.append(("title", title))


def _read_tracks(source: Source, tracks: _Element, found: _Segment) -> None:
    for track in _children(source, tracks):
        if track.kind != _TRACK or _number(source, _child(source, track, _TYPE)) != _IS_SOUND:
            continue
        audio = _child(source, track, _AUDIO)
        codec = _text(source, _child(source, track, _CODEC))
        found.track = _number(source, _child(source, track, _NUMBER))
        found.codec = _CODECS.get(codec) or codec.removeprefix("A_").partition("/")[0].lower()
        rate = _child(source, audio, _OUTPUT_SAMPLE_RATE) or _child(source, audio, _SAMPLE_RATE)
        found.sample_rate = _float(source, rate) or found.sample_rate
        found.channels = _number(source, _child(source, audio, _CHANNELS)) or found.channels
        return


def _read_tags(source: Source, tags: _Element) -> Pairs:
    pairs: Pairs = []
    room = LARGEST_TEXT
    for tag in _children(source, tags):
        level = _number(source, _child(source, _child(source, tag, _TARGETS), _LEVEL))
        names = _NAMES_OF_ALBUM if level >= _ALBUM else _NAMES
        for item in _children(source, tag):
            if item.kind != _SIMPLE_TAG or room < 0:
                continue
            name = _text(source, _child(source, item, _NAME)).upper()
            value = _text(source, _child(source, item, _STRING))
            room -= len(value)
            if not name.startswith(_NOT_FOR_PEOPLE):
                pairs.append((names.get(name, name), value))
    return pairs
