"""The kind of a file, by its bytes only: never by its name or the type that a client declares."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto

from mosic.audio import ac3, adts, amr, asf, au, dts, latm, mpeg, transport, voc
from mosic.audio.source import Source
from mosic.audio.tagblocks import Surroundings, look_around
from mosic.errors import UnreadableMedia, UnsupportedMedia


class Format(Enum):
    """The formats that can be read."""

    AAC = auto()
    AC3 = auto()
    ADIF = auto()
    AIFF = auto()
    AMR = auto()
    APE = auto()
    ASF = auto()
    AU = auto()
    CAF = auto()
    DSDIFF = auto()
    DSF = auto()
    DTS = auto()
    FLAC = auto()
    LATM = auto()
    MATROSKA = auto()
    MP4 = auto()
    MPEG = auto()
    MUSEPACK = auto()
    OGG = auto()
    OPTIMFROG = auto()
    TAK = auto()
    TRANSPORT_STREAM = auto()
    TRUE_AUDIO = auto()
    VOC = auto()
    WAVE = auto()
    WAVE64 = auto()
    WAVPACK = auto()


_MAGIC = (
    (b"fLaC", Format.FLAC),
    (b"OggS", Format.OGG),
    (b"MAC ", Format.APE),
    (b"wvpk", Format.WAVPACK),
    (b"MPCK", Format.MUSEPACK),
    (b"MP+", Format.MUSEPACK),
    (b"TTA1", Format.TRUE_AUDIO),
    (b"OFR ", Format.OPTIMFROG),
    (b"tBaK", Format.TAK),
    (b"DSD ", Format.DSF),
    (b"ADIF", Format.ADIF),
    (amr.NARROW, Format.AMR),
    (amr.WIDE, Format.AMR),
    (au.SUN, Format.AU),
    (au.DEC, Format.AU),
    (b"caff\0\1", Format.CAF),
    (voc.MAGIC, Format.VOC),
    (b"\x1aE\xdf\xa3", Format.MATROSKA),
    (asf.HEADER, Format.ASF),
    (b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0", Format.WAVE64),
)
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"moof", b"uuid")
# Other files with bytes like those of sound: offset of the magic, its bytes, and a name.
_FOREIGN = (
    (0, b"PK\x03\x04", "an archive"),
    (0, b"Rar!", "an archive"),
    (0, b"7z\xbc\xaf", "an archive"),
    (0, b"\x1f\x8b", "an archive"),
    (0, b"BZh", "an archive"),
    (0, b"\xfd7zXZ", "an archive"),
    (257, b"ustar", "an archive"),
    (0, b"\x89PNG", "a picture"),
    (0, b"GIF8", "a picture"),
    (0, b"\xff\xd8\xff", "a picture"),
    (0, b"%PDF", "a document"),
    (0, b"MThd", "MIDI: notes, but no audio"),
    (0, b"\x00\x00\x01\xba", "an MPEG video stream"),
    (0, b"\x00\x00\x01\xb3", "an MPEG video stream"),
    (0, b"FLV", "Flash video"),
    (0, b".RMF", "RealMedia"),
    (0, b"RIFF", "RIFF, but not WAVE"),
    (0, b"RIFX", "RIFX, but not WAVE"),
    (0, b"FORM", "IFF, but not AIFF"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
    (0, b"SQLite format 3", "a database"),
)
_SYNTAXES = (
    (Format.MPEG, mpeg.SYNTAX),
    (Format.AAC, adts.SYNTAX),
    (Format.AC3, ac3.SYNTAX),
    (Format.DTS, dts.SYNTAX),
    (Format.LATM, latm.SYNTAX),
)
_LONGEST_JUNK = 128 << 10
_LONGEST_PADDING = 16 << 20


def sniff(source: Source) -> tuple[Format, Surroundings]:
    """The format, and where its sound lies between tags.

    Raises UnsupportedMedia for what is not sound of a known format, UnreadableMedia for what ends before it.
    """
    if source.size == 0:
        raise UnsupportedMedia("The file is empty.")
    around = look_around(source)
    head = source.read(around.start, 512)
    if not head and around.start:
        raise UnreadableMedia("The file ends before its audio begins.")
    known = _by_magic(head)
    if known is not None:
        return known, around
    for offset, magic, name in _FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            raise UnsupportedMedia(f"This file is {name}.")
    return _by_frames(source, around)


def _by_magic(head: bytes) -> Format | None:
    for magic, known in _MAGIC:
        if head.startswith(magic):
            return known
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return Format.WAVE
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return Format.AIFF
    if head[:4] == b"FRM8" and head[12:16] == b"DSD ":
        return Format.DSDIFF
    # The first box is small, unless it holds the sound.
    if head[4:8] in _BOXES and (head[0] == 0 or head[4:8] == b"mdat"):
        return Format.MP4
    return None


def _by_frames(source: Source, around: Surroundings) -> tuple[Format, Surroundings]:
    """Sound without a container, which may begin with padding or a part of a frame."""
    start = _skip_padding(source, around.start, around.end)
    data = source.read(start, min(_LONGEST_JUNK, around.end - start))
    if transport.find(data[: 8 * 204]) is not None:
        return Format.TRANSPORT_STREAM, replace(around, start=start)
    if _is_text(data[:512]):
        raise UnsupportedMedia("This file is text.")
    found = []
    for kind, syntax in _SYNTAXES:
        at = syntax.find(data, ends=start + len(data) == around.end)
        if at is not None:
            found.append((at, kind))
    if not found:
        raise UnsupportedMedia
    at, kind = min(found, key=lambda pair: pair[0])
    return kind, replace(around, start=start + at)


def _skip_padding(source: Source, start: int, end: int) -> int:
    for offset in range(start, min(end, start + _LONGEST_PADDING), 1 << 20):
        chunk = source.read(offset, min(1 << 20, end - offset))
        if rest := chunk.lstrip(b"\0"):
            return offset + len(chunk) - len(rest)
    return end


def _is_text(data: bytes) -> bool:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if error.start < len(data) - 3:
            return False
        text = data[: error.start].decode()
    return not any(character < " " and character not in "\t\n\r\f" for character in text)
