"""ASF (`.wma`; Microsoft's "Advanced Systems Format Specification"): the first stream of sound.

As with MP4, a film's sound counts. The objects that hold tags go on to mutagen, as far as they are small.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from mosic.audio.source import LARGEST_TEXT, Sound, Source
from mosic.errors import UnreadableMedia, UnsupportedMedia


def _guid(text: str) -> bytes:
    return UUID(text).bytes_le


HEADER = _guid("75B22630-668E-11CF-A6D9-00AA0062CE6C")
_FILE_PROPERTIES = _guid("8CABDCA1-A947-11CF-8EE4-00C00C205365")
_STREAM_PROPERTIES = _guid("B7DC0791-A9B7-11CF-8EE6-00C00C205365")
_AUDIO = _guid("F8699E40-5B4D-11CF-A8FD-00805F5C442B")
_HEADER_EXTENSION = _guid("5FBF03B5-A92E-11CF-8EE3-00C00C205365")
_TAGS = (
    _guid("75B22633-668E-11CF-A6D9-00AA0062CE6C"),  # content description
    _guid("D2D0A440-E307-11D2-97F0-00A0C95EA850"),  # extended content description
    _guid("C5F8CBEA-5BAF-4877-8467-AA8C44FA4CCA"),  # metadata
    _guid("44231C94-9498-49D1-A141-1D134E457054"),  # metadata library
)
_CODECS = {0x0A: "wmavoice", 0x55: "mp3", 0x160: "wma", 0x161: "wma", 0x162: "wmapro", 0x163: "wmalossless"}
_MOST_OBJECTS = 4096


@dataclass(frozen=True, slots=True)
class _Object:
    guid: bytes
    start: int
    end: int


def read(source: Source, start: int, end: int) -> Sound:
    """The file whose header object stands at `start`."""
    header = source.read(start, 30)
    header_end = start + int.from_bytes(header[16:24], "little")
    if len(header) < 30 or header_end > end:
        raise UnreadableMedia("The file ends within its header.")
    properties = form = b""
    tags: list[bytes] = []
    has_streams = False
    for item in _objects(source, start + 30, header_end):
        if item.guid == _FILE_PROPERTIES:
            properties = source.read(item.start, 80)
        elif item.guid == _STREAM_PROPERTIES:
            stream = source.read(item.start, min(item.end - item.start, 128))
            has_streams = True
            if stream.startswith(_AUDIO) and not form:
                form = stream[54:]
        tags += _tag_objects(source, item)
        if item.guid == _HEADER_EXTENSION:
            for inner in _objects(source, item.start + 22, item.end):
                tags += _tag_objects(source, inner)
    if has_streams and not form:
        raise UnsupportedMedia("This file has no audio track.")
    if len(form) < 16 or len(properties) < 64:
        raise UnreadableMedia("The header does not describe the audio.")
    kind, channels, sample_rate, byte_rate = (
        int.from_bytes(form[at : at + size], "little") for at, size in ((0, 2), (2, 2), (4, 4), (8, 4))
    )
    length, preroll = (int.from_bytes(properties[at : at + 8], "little") for at in (40, 56))
    # A live broadcast (the lowest flag) has no length, and that of a file that was cut off is too large.
    unknown = properties[64:65] and properties[64] & 1
    cut_off = header_end + int.from_bytes(source.read(header_end + 16, 8), "little") > end
    return Sound(
        media_type="audio/x-ms-wma",
        codec=_CODECS.get(kind, "wma"),
        duration=None if unknown or cut_off else length / 10_000_000 - preroll / 1000,
        bitrate=byte_rate * 8,
        sample_rate=sample_rate,
        channels=channels,
        tags=[_reduced(tags)] if tags else [],
    )


def _objects(source: Source, start: int, end: int) -> Iterator[_Object]:
    at = start
    for _ in range(_MOST_OBJECTS):
        header = source.read(at, min(24, end - at))
        size = int.from_bytes(header[16:24], "little")
        if len(header) < 24 or size < 24 or at + size > end:
            return
        yield _Object(header[:16], at + 24, at + size)
        at += size


def _tag_objects(source: Source, item: _Object) -> list[bytes]:
    if item.guid not in _TAGS or item.end - item.start > LARGEST_TEXT:
        return []
    return [source.read(item.start - 24, item.end - item.start + 24)]


def _reduced(objects: list[bytes]) -> bytes:
    """A header with these objects only."""
    body = b"".join(objects)
    return (
        HEADER + (30 + len(body)).to_bytes(8, "little") + len(objects).to_bytes(4, "little") + b"\1\2" + body
    )
