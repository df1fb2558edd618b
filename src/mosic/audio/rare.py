"""Rare formats, whose headers mutagen reads: ADIF, Monkey's Audio, Musepack, OptimFROG, TAK, DSF, DSDIFF.

mutagen trusts a header. Where a format says how many bytes it should have, a file that has fewer of them gets
no duration.
"""

# Parts of mutagen have no type annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO

from mutagen.aac import AACInfo
from mutagen.dsdiff import DSDIFFFile, DSDIFFInfo
from mutagen.dsf import DSFFile, DSFInfo
from mutagen.monkeysaudio import MonkeysAudioInfo
from mutagen.musepack import MusepackInfo
from mutagen.optimfrog import OptimFROGInfo
from mutagen.tak import TAKInfo

from mosic.audio.source import FewReads, Sound, Source
from mosic.audio.tagblocks import read_id3

Reader = Callable[[BinaryIO, Source, int, int], Sound]
"""Of the file that stands from one offset to another: tags around it are not part of that."""

# For one look at the headers of a file: real ones need some hundred.
_MOST_READS = 10_000


def read_dsf(file: BinaryIO, source: Source, start: int, end: int) -> Sound:
    file.seek(start)
    dsf: Any = DSFFile(FewReads(file, _MOST_READS))
    sound = _sound("audio/x-dsf", "dsd", DSFInfo(dsf.fmt_chunk))
    tag = dsf.dsd_chunk.offset_metdata_chunk
    # The chunk of samples follows two others, which are 28 and 52 bytes long.
    (size,) = struct.unpack("<Q", source.read(start + 84, 8))
    return replace(_unless_cut(sound, start + 80 + size, end), tags=read_id3(source, tag) if tag else [])


def read_dsdiff(file: BinaryIO, source: Source, start: int, end: int) -> Sound:
    file.seek(start)
    chunks = DSDIFFFile(FewReads(file, _MOST_READS))
    file.seek(start)
    info = DSDIFFInfo(FewReads(file, _MOST_READS))
    is_packed = info.compression == "DST"
    samples = chunks["DST" if is_packed else "DSD"]
    sound = _sound("audio/x-dff", "dst" if is_packed else "dsd", info)
    tags = read_id3(source, chunks["ID3"].data_offset) if "ID3" in chunks else []
    return replace(_unless_cut(sound, samples.data_offset + samples.data_size, end), tags=tags)


def read_ape(file: BinaryIO, source: Source, start: int, end: int) -> Sound:
    sound = _read_header(file, start, end, "audio/x-ape", "ape", MonkeysAudioInfo)
    version, *sizes, high_bits, tail = struct.unpack("<H2x5I2I", source.read(start + 4, 32))
    # From version 3.98 on, the sizes of all parts.
    return _unless_cut(sound, start + sum(sizes) + (high_bits << 32) + tail if version >= 3980 else 0, end)


def read_musepack(file: BinaryIO, source: Source, start: int, end: int) -> Sound:
    sound = _read_header(file, start, end, "audio/x-musepack", "musepack", MusepackInfo)
    # Version 8 has a last packet, of three bytes.
    is_cut = source.read(start, 4) == b"MPCK" and source.read(end - 3, 3) != b"SE\3"
    # mutagen counts the tags as sound.
    return replace(sound, duration=None if is_cut else sound.duration, bitrate=_bitrate(sound, start, end))


def by_header(media_type: str, codec: str, read: Callable[[FewReads], Any]) -> Reader:
    return lambda file, _, start, end: _read_header(file, start, end, media_type, codec, read)


def _read_header(
    file: BinaryIO, start: int, end: int, media_type: str, codec: str, read: Callable[[FewReads], Any]
) -> Sound:
    file.seek(start)
    sound = _sound(media_type, codec, read(FewReads(file, _MOST_READS)))
    return replace(sound, bitrate=sound.bitrate or _bitrate(sound, start, end))


def _bitrate(sound: Sound, start: int, end: int) -> int | None:
    return round((end - start) * 8 / sound.duration) if sound.duration else None


def _sound(media_type: str, codec: str, info: Any) -> Sound:
    return Sound(
        media_type,
        codec,
        duration=info.length,
        bitrate=getattr(info, "bitrate", None),
        sample_rate=info.sample_rate,
        channels=getattr(info, "channels", None),
    )


def _unless_cut(sound: Sound, needed: int, end: int) -> Sound:
    """Without its duration when it needs bytes up to a place behind the end."""
    return replace(sound, duration=None) if needed > end else sound


READ_ADIF = by_header("audio/aac", "aac", AACInfo)
READ_OPTIMFROG = by_header("audio/x-ofr", "optimfrog", OptimFROGInfo)
READ_TAK = by_header("audio/x-tak", "tak", TAKInfo)
