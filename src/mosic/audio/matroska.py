"""Matroska and WebM (RFC 9559, EBML: RFC 8794): the first track of sound, measured by its blocks.

Browsers record into WebM, and write neither a length nor the sizes of what goes on and on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from mosic.audio.carried import MOST_CHAPTERS
from mosic.audio.ebml import Element, child, children, element_at, number, real, text, variable
from mosic.audio.source import LARGEST_TEXT, FewLooks, Pairs, Readable, Sound, Source, most_units
from mosic.errors import UnreadableMedia, UnsupportedMedia
from mosic.wire.chapters import Chapter

_EBML, _DOC_TYPE, _SEGMENT = 0x1A45DFA3, 0x4282, 0x18538067
_INFO, _TIMESTAMP_SCALE, _DURATION, _TITLE = 0x1549A966, 0x2AD7B1, 0x4489, 0x7BA9
_TRACKS, _TRACK, _NUMBER, _TYPE, _CODEC = 0x1654AE6B, 0xAE, 0xD7, 0x83, 0x86
_AUDIO, _SAMPLE_RATE, _OUTPUT_SAMPLE_RATE, _CHANNELS = 0xE1, 0xB5, 0x78B5, 0x9F
_CLUSTER, _TIMESTAMP, _SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK = 0x1F43B675, 0xE7, 0xA3, 0xA0, 0xA1
_TAGS, _TAG, _TARGETS, _LEVEL, _SIMPLE_TAG = 0x1254C367, 0x7373, 0x63C0, 0x68CA, 0x67C8
_NAME, _STRING = 0x45A3, 0x4487
_CHAPTERS, _EDITION, _ATOM, _BEGINS, _ENDS = 0x1043A770, 0x45B9, 0xB6, 0x91, 0x92
_HIDDEN, _DISPLAY, _SHOWN = 0x98, 0x80, 0x85
_DEEPEST = 8
_IS_SOUND = 2
_SCALE = 1_000_000
_ALBUM = 50
_OPENED = (_SEGMENT, _CLUSTER, _BLOCK_GROUP)
_CLUSTER_ID = _CLUSTER.to_bytes(4, "big")
_MOST_ELEMENTS = 300_000
_TAILS = (64 << 10, 1 << 20, 8 << 20)
_MOST_IN_TAIL = 20_000
# In all that describes tracks, and in all that is text.
_MOST_LOOKS = 20_000
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
# Notes of the programs that write files.
_NOT_FOR_PEOPLE = ("_STATISTICS", "BPS", "DURATION", "NUMBER_OF_", "SOURCE_ID")


@dataclass(slots=True)
class _Segment:
    """What is known of the file so far. Timestamps are in units of `scale` nanoseconds."""

    end: int
    scale: int = _SCALE
    announced: float = 0
    track: int = 0
    codec: str = ""
    sample_rate: float = 8000
    channels: int = 1
    timestamps: list[int] = field(default_factory=list)
    """That of the first block of sound, and of the last two."""
    sound_bytes: float = 0
    walked_to: int = 0
    done: float = 0
    """Seconds of the recordings before this one, where several were joined."""
    pairs: Pairs = field(default_factory=list)
    chapters: list[Chapter] = field(default_factory=list)

    def note(self, timestamp: int, size: int) -> None:
        if len(self.timestamps) == 3:
            del self.timestamps[1]
        self.timestamps.append(timestamp)
        self.sound_bytes += size

    def begin_anew(self) -> None:
        """Another recording follows, with its own EBML header."""
        self.done += self.seconds
        self.timestamps, self.announced, self.scale = [], 0, _SCALE

    @property
    def seconds(self) -> float:
        """By the blocks. The announced duration is more precise, and used where it agrees."""
        announced = self.announced * self.scale / 1e9
        if len(self.timestamps) < 2:
            return announced if self.timestamps else 0
        first, before, last = self.timestamps[0], self.timestamps[-2], self.timestamps[-1]
        measured = (last - first + last - before) * self.scale / 1e9
        return announced if abs(announced - measured) < 1 else measured


def read(source: Source, start: int, end: int, *, most_elements: int = _MOST_ELEMENTS) -> Sound:
    """The file whose EBML header stands at `start`.

    Behind so many elements, and behind damage, only the last clusters are looked at; where none is found, the
    duration is an estimate.
    """
    header = element_at(source, start, end)
    segment = element_at(source, header.end, end) if header and header.kind == _EBML else None
    if header is None or segment is None or segment.kind != _SEGMENT:
        raise UnreadableMedia("The file ends before its audio begins.")
    if source.read(segment.end, 4) == _EBML.to_bytes(4, "big"):
        segment = replace(segment, end=end)
    found = _Segment(segment.end)
    has_tracks = False
    timestamp = seen = 0
    most_elements = most_units(end - start, most_elements)
    described, texts = FewLooks(source, _MOST_LOOKS), FewLooks(source, _MOST_LOOKS)
    for element in _all_elements(source, segment, most_elements):
        found.walked_to = element.start if element.kind in _OPENED else element.end
        seen += 1
        if element.kind == _SEGMENT:
            found.begin_anew()
        elif element.kind == _INFO:
            _read_info(texts, element, found)
        elif element.kind == _TRACKS:
            has_tracks = True
            _read_tracks(described, element, found)
        elif element.kind == _TAGS:
            found.pairs = _read_tags(texts, element) + found.pairs
        elif element.kind == _CHAPTERS:
            edition = child(texts, element, _EDITION)
            found.chapters += _read_atoms(texts, edition, 0) if edition and not found.chapters else []
        elif element.kind == _TIMESTAMP:
            timestamp = number(source, element)
        elif element.kind in (_SIMPLE_BLOCK, _BLOCK) and element.whole:
            track, relative = _block_header(source.read(element.start, 10))
            if track == found.track:
                found.note(timestamp + relative, element.end - element.start - 4)
    if found.walked_to < segment.end:
        _extrapolate(source, segment, found, is_capped=seen == most_elements)
    if has_tracks and not found.track:
        raise UnsupportedMedia("This file has no audio track.")
    if not found.track:
        raise UnreadableMedia("The file ends before its audio begins.")
    seconds = found.done + found.seconds
    return Sound(
        media_type="audio/webm"
        if text(source, child(source, header, _DOC_TYPE)) == "webm"
        else "audio/matroska",
        codec=found.codec,
        duration=seconds,
        bitrate=round(found.sound_bytes * 8 / seconds) if seconds else None,
        sample_rate=48000 if found.codec == "opus" else round(found.sample_rate),
        channels=found.channels,
        tags=[found.pairs],
        chapters=found.chapters,
    )


def _extrapolate(source: Source, segment: Element, found: _Segment, *, is_capped: bool) -> None:
    """Account for the rest that was not read: by the last cluster, else in proportion to the bytes."""
    if len(found.timestamps) < 2:
        return
    first, before, last = found.timestamps[0], found.timestamps[-2], found.timestamps[-1]
    grown = (segment.end - segment.start) / (found.walked_to - segment.start)
    if found.done:
        found.done *= grown if is_capped else 1
        return
    ended = _last_timestamp(source, segment, found)
    if is_capped and (ended is None or ended < last):
        ended = first + round((last - first) * grown)
    if ended is not None and ended > last:
        found.timestamps = [first, ended - (last - before), ended]
        found.sound_bytes *= grown


def _last_timestamp(source: Source, segment: Element, found: _Segment) -> int | None:
    """Of the last block of sound, looked for from the end of the file."""
    # Everything that looks like a cluster is followed to the end; all share one limit.
    looks = FewLooks(source, 2 * _MOST_IN_TAIL)
    for size in _TAILS:
        offset = max(segment.end - size, found.walked_to)
        data = source.read(offset, segment.end - offset)
        at = len(data)
        while not looks.are_used_up and (at := data.rfind(_CLUSTER_ID, 0, at)) >= 0:
            timestamp, last = 0, None
            rest = Element(_SEGMENT, offset + at, segment.end, True)
            for element in _all_elements(looks, rest, _MOST_IN_TAIL):
                if element.kind == _TIMESTAMP:
                    timestamp = number(looks, element)
                elif element.kind in (_SIMPLE_BLOCK, _BLOCK) and element.whole:
                    track, relative = _block_header(looks.read(element.start, 10))
                    last = timestamp + relative if track == found.track else last
            if last is not None:
                return last
        if offset == found.walked_to:
            break
    return None


def _all_elements(source: Readable, segment: Element, most: int) -> Iterator[Element]:
    """The elements of the segment, and those in its clusters and block groups, in one sequence.

    So it does not matter where they end, which is often not written.
    """
    at = segment.start
    for _ in range(most):
        element = element_at(source, at, segment.end)
        if element is None:
            return
        yield element
        at = element.start if element.kind in _OPENED else element.end


def _block_header(data: bytes) -> tuple[int, int]:
    """Track, and timestamp relative to the cluster's."""
    if not data or data[0] == 0:
        return 0, 0
    track, width = variable(data, 0)
    return track, int.from_bytes(data[width : width + 2], "big", signed=True)


def _read_info(source: Readable, info: Element, found: _Segment) -> None:
    found.scale = number(source, child(source, info, _TIMESTAMP_SCALE)) or found.scale
    found.announced = real(source, child(source, info, _DURATION))
    if title := text(source, child(source, info, _TITLE)):
        found.pairs.append(("title", title))


def _read_tracks(source: Readable, tracks: Element, found: _Segment) -> None:
    for track in children(source, tracks):
        if track.kind != _TRACK or number(source, child(source, track, _TYPE)) != _IS_SOUND:
            continue
        audio = child(source, track, _AUDIO)
        codec = text(source, child(source, track, _CODEC))
        is_first = not found.track
        found.track = number(source, child(source, track, _NUMBER))
        if not is_first:
            return
        found.codec = _CODECS.get(codec) or codec.removeprefix("A_").partition("/")[0].lower()
        rate = child(source, audio, _OUTPUT_SAMPLE_RATE) or child(source, audio, _SAMPLE_RATE)
        found.sample_rate = real(source, rate) or found.sample_rate
        found.channels = number(source, child(source, audio, _CHANNELS)) or found.channels
        return


def _read_atoms(source: Readable, parent: Element, depth: int) -> list[Chapter]:
    """The chapters of an edition (RFC 9559 §5.1.7) and those inside of them, in one list; times are in
    nanoseconds."""
    found: list[Chapter] = []
    for atom in children(source, parent):
        if atom.kind != _ATOM or len(found) >= MOST_CHAPTERS:
            continue
        if not number(source, child(source, atom, _HIDDEN)):
            ends = child(source, atom, _ENDS)
            found.append(
                Chapter(
                    number(source, child(source, atom, _BEGINS)) / 1e9,
                    number(source, ends) / 1e9 if ends else None,
                    text(source, child(source, child(source, atom, _DISPLAY), _SHOWN)),
                )
            )
        if depth < _DEEPEST:
            found += _read_atoms(source, atom, depth + 1)
    return found


def _read_tags(source: Readable, tags: Element) -> Pairs:
    pairs: Pairs = []
    room = LARGEST_TEXT
    for tag in children(source, tags):
        level = number(source, child(source, child(source, tag, _TARGETS), _LEVEL))
        names = _NAMES_OF_ALBUM if level >= _ALBUM else _NAMES
        for item in children(source, tag):
            if item.kind != _SIMPLE_TAG or room < 0:
                continue
            name = text(source, child(source, item, _NAME)).upper()
            value = text(source, child(source, item, _STRING))
            room -= len(value)
            if not name.startswith(_NOT_FOR_PEOPLE):
                pairs.append((names.get(name, name), value))
    return pairs
