"""ISO base media files (`.m4a`, `.m4b`, `.mp4`, `.mov`, `.3gp`; ISO/IEC 14496-12): the first track of sound.

A file is sound if it has such a track, whatever else it has: audio books carry their pictures as a track of
video, and of a film every player plays the sound. Only boxes on known paths are looked at. How long it is,
its samples say (`stts`, the runs of fragments), as they do to players; `mvhd`, `mdhd`, `mehd` are not asked.
"""

from __future__ import annotations

from dataclasses import dataclass

from mosic.audio import mp4_chapters, mp4_samples, mp4_tags
from mosic.audio.boxes import Box, boxes, child, number, payload
from mosic.audio.mp4_fragments import MOST_FRAGMENTS, Timeline, defaults_of
from mosic.audio.sampleentry import describe, frame_seconds
from mosic.audio.source import Sound, Source, most_units
from mosic.errors import UnreadableMedia, UnsupportedMedia

_BOXES_PER_FRAGMENT = 4
_MOST_TOP_BOXES = 400_000
_LONGEST_LEAD_IN = 60
# Of what a sample lasts by its time and by its codec; half or twice as much where SBR is not announced.
_PLAUSIBLE = ((0.75, 1.33), (0.499, 0.501), (1.999, 2.001))
_UNKNOWN = (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True, slots=True)
class _Track:
    """The boxes of a track of sound, as far as they are needed. Lengths are in its timescale."""

    number: int
    description: bytes
    timescale: int
    length: int
    """Of the samples that the index holds."""
    edits: list[tuple[int, int]]
    """Lengths in the movie's timescale, and where in the media each begins; -1 is silence."""
    sample_bytes: int
    is_alone: bool


def read(
    source: Source,
    start: int,
    end: int,
    *,
    most_fragments: int = MOST_FRAGMENTS,
    largest_table: int = mp4_samples.LARGEST_TABLE,
) -> Sound:
    """The file whose boxes begin at `start`.

    Of a longer table, or of more fragments, only the beginning is read, and of the fragments the end; the
    duration is then an estimate.
    """
    moov = _index(source, start, end)
    track = _sound_track(source, moov, largest_table)
    codec, sample_rate, channels = describe(track.description)
    timescale = track.timescale or sample_rate
    defaults = defaults_of(source, moov, track.number)
    fragments = Timeline(source, end, track.number, timescale, defaults)
    fragments.begin(track.length)
    data_bytes, left = 0, most_units(end - start, most_fragments * _BOXES_PER_FRAGMENT)
    for box in boxes(source, start, end, left):
        left -= 1
        if left == 0 or (box.name == b"moof" and fragments.count >= most_fragments):
            fragments.extrapolate(moov.end, box.start)
            break
        if box.name == b"mdat":
            data_bytes += box.end - box.start
        elif box.name == b"moof":
            fragments.add(box)
    seconds = _seconds(source, moov, track, fragments, timescale)
    if track.sample_bytes > data_bytes:
        seconds = 0  # The index lists sound that is not in the file.
    sound_bytes = track.sample_bytes + fragments.size or (data_bytes if track.is_alone else 0)
    return Sound(
        media_type="audio/mp4",
        codec=codec,
        duration=seconds,
        bitrate=round(sound_bytes * 8 / seconds) if seconds else None,
        sample_rate=sample_rate or track.timescale,
        channels=channels,
        tags=mp4_tags.read(source, moov),
        chapters=mp4_chapters.read(source, moov),
    )


def _index(source: Source, start: int, end: int) -> Box:
    holds_pictures = False
    for box in boxes(source, start, end, most_units(end - start, _MOST_TOP_BOXES)):
        if box.name == b"moov":
            if not box.whole:
                raise UnreadableMedia("The file ends within its index.")
            return box
        # HEIF and AVIF: items, but no tracks
        holds_pictures = holds_pictures or box.name == b"meta"
    if holds_pictures:
        raise UnsupportedMedia("This file has no audio track.")
    raise UnreadableMedia("The file has no index ('moov'): it is incomplete.")


def _sound_track(source: Source, moov: Box, largest_table: int) -> _Track:
    tracks = [box for box in boxes(source, moov.start, moov.end) if box.name == b"trak"]
    for trak in tracks:
        media = child(source, trak, b"mdia")
        if media is None or payload(source, child(source, media, b"hdlr"), 12)[8:12] != b"soun":
            continue
        header = payload(source, child(source, trak, b"tkhd"), 32)
        table = child(source, media, b"minf", b"stbl")
        count, sample_bytes = mp4_samples.sizes(source, table, largest_table)
        description = payload(source, child(source, table, b"stsd"), 64 << 10)
        timescale = _timescale(source, child(source, media, b"mdhd"))
        length = mp4_samples.length(source, table, count, largest_table)
        frame = frame_seconds(description) * timescale
        ratio = mp4_samples.usual(source, table) / frame if frame else 1
        if count and not any(least < ratio < most for least, most in _PLAUSIBLE):
            # A wrong timescale, or no times at all: decoders go by the frames.
            length = round(count * frame)
        return _Track(
            number=number(header, 20 if header[:1] == b"\x01" else 12),
            description=description,
            timescale=timescale,
            length=length,
            edits=_edits(payload(source, child(source, trak, b"edts", b"elst"))),
            sample_bytes=sample_bytes,
            is_alone=len(tracks) == 1,
        )
    raise UnsupportedMedia("This file has no audio track.")


def _timescale(source: Source, box: Box | None) -> int:
    """Units a second, from an `mvhd` or `mdhd` box."""
    data = payload(source, box, 64)
    return number(data, 20 if data[:1] == b"\x01" else 12)


def _edits(data: bytes) -> list[tuple[int, int]]:
    size = 8 if data[:1] == b"\x01" else 4
    step = 2 * size + 4
    count = min(number(data, 4), (len(data) - 8) // step) if len(data) > 8 else 0
    edits = (
        (number(data, at, size), number(data, at + size, size)) for at in range(8, 8 + step * count, step)
    )
    return [(length, -1 if begin in _UNKNOWN else begin) for length, begin in edits]


def _seconds(source: Source, moov: Box, track: _Track, fragments: Timeline, timescale: int) -> float:
    if timescale == 0:
        return 0
    if fragments.count:
        # The clock of a part of a broadcast is beyond what its edit list leaves out.
        begins = next((begin for _, begin in track.edits if begin >= 0), 0)
        return max(fragments.length - max(begins - fragments.first, 0), 0) / timescale
    whole = track.length / timescale
    movie_timescale = _timescale(source, child(source, moov, b"mvhd"))
    if not movie_timescale:
        return whole
    silence = sum(length for length, begin in track.edits if begin < 0) / movie_timescale
    played = 0.0
    for length, begin in track.edits:
        if begin >= 0:
            # No player plays more than there is; an edit without a length lasts to the end.
            left = max(whole - begin / timescale, 0)
            played += min(length / movie_timescale or left, left)
    return played + (silence if silence < _LONGEST_LEAD_IN else 0) if played else whole
