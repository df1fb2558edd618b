"""What is in an audio file: path → AudioInfo.

The modules beside this one measure the sound. mutagen reads the headers of rare formats (`rare`), and
the tags of ID3, MP4 and ASF.
"""

# Parts of mutagen have no type annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from mutagen.asf import ASF
from mutagen.id3 import ID3, TCON
from mutagen.mp4 import MP4Tags
from mutagen.mp4._atom import Atoms

from mosic.audio import (
    ac3,
    adts,
    aiff,
    amr,
    asf,
    au,
    caf,
    dts,
    flac,
    latm,
    matroska,
    mp4,
    mpeg,
    names,
    ogg,
    rare,
    transport,
    trueaudio,
    voc,
    wave,
    wavpack,
)
from mosic.audio.carried import Carried, from_tags, settled
from mosic.audio.id3texts import version_1
from mosic.audio.info import AudioInfo
from mosic.audio.sniff import Format, sniff
from mosic.audio.source import Pairs, Sound, Source
from mosic.audio.tagblocks import Surroundings
from mosic.audio.tags import normalise
from mosic.errors import UnreadableMedia, UnsupportedMedia
from mosic.wire.chapters import Chapter
from mosic.wire.lrc import Lyrics
from mosic.words import MAX_NUMBER

# Fewer bits per second mean a wrong length, not a recording. Silence needs very few.
_LEAST_BITRATE = 20
_LEAST_BITRATES = {"flac": 1, "ape": 10, "dsd": 1_000_000}
_NO_GENRE = 255
_CODEC = re.compile(r"[a-z0-9][a-z0-9_.+-]{0,31}")


def probe(path: Path) -> AudioInfo:
    """Read what sound is in the file, and its tags.

    Raises UnsupportedMedia when the content is not sound of a known format, UnreadableMedia when it is but
    cannot be read; nothing else, whatever the bytes. Tags that cannot be read are left out: they are no
    reason to refuse the sound. Blocks, and may take long over a hostile file: see `isolation`.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise UnreadableMedia from error
    with file:
        return probe_open(file)


def probe_open(file: BinaryIO) -> AudioInfo:
    """The same for an open file. No other file is opened."""
    try:
        source = Source(file.fileno(), file.seek(0, 2))
        format_, around = sniff(source)
        sound = _READERS[format_](file, source, around.start, around.end)
        return _to_info(sound, around)
    except (UnsupportedMedia, UnreadableMedia):
        raise
    except Exception as error:
        raise UnreadableMedia from error


def _to_info(sound: Sound, around: Surroundings) -> AudioInfo:
    pairs = [tag if isinstance(tag, list) else _read_block(tag) for tag in (*sound.tags, *around.tags)]
    duration = _plausible(sound, around.end - around.start)
    chapters, lyrics = _carried(sound, around, pairs, duration)
    return AudioInfo(
        media_type=sound.media_type,
        duration=duration,
        codec=sound.codec if _CODEC.fullmatch(sound.codec) else None,
        bitrate=_positive(sound.bitrate),
        sample_rate=_positive(sound.sample_rate),
        channels=_positive(sound.channels),
        **normalise(*pairs),
        chapters=chapters,
        lyrics=lyrics,
    )


def _carried(
    sound: Sound, around: Surroundings, pairs: list[Pairs], duration: float | None
) -> tuple[list[Chapter], Lyrics | None]:
    try:
        frame = mpeg.frame_seconds(sound.codec, sound.sample_rate or 0)
        found = [*(timed.found(frame) for timed in around.timed), *map(from_tags, pairs)]
        # Last, since a cue sheet in a tag has titles, which that in a block has not.
        return settled([*found, Carried(sound.chapters)], duration)
    except Exception:
        # Whatever is wrong with them is no reason to refuse the sound.
        return [], None


def _plausible(sound: Sound, size: int) -> float | None:
    seconds = sound.duration
    if seconds is None or not math.isfinite(seconds) or seconds <= 0:
        return None
    if size * 8 / seconds < _LEAST_BITRATES.get(sound.codec, _LEAST_BITRATE):
        return None
    return seconds


def _positive(number: float | None) -> int | None:
    return int(number) if number is not None and 0 < number <= MAX_NUMBER else None


def _read_block(block: bytes) -> Pairs:
    try:
        if block.startswith(asf.HEADER):
            return _read_asf(block)
        return _read_mp4(block) if block[4:8] == b"ftyp" else _read_id3(block)
    except Exception:
        return []


def _read_id3(block: bytes) -> Pairs:
    if block.startswith(b"TAG"):
        genre = TCON(encoding=0, text=f"{block[127]}").genres if block[127] != _NO_GENRE else []
        return [*version_1(block), *(("genre", name) for name in genre)]
    found: Pairs = []
    for frame in ID3(BytesIO(block), load_v1=False).values():
        with suppress(AttributeError, ValueError):
            found += _id3_pairs(frame)
    return found


def _id3_pairs(frame: Any) -> Pairs:
    kind = frame.FrameID
    if kind in ("TIPL", "TMCL"):
        return [(names.ID3_PEOPLE.get(role, role or "performer"), person) for role, person in frame.people]
    if kind == "UFID":
        known = frame.owner == "http://musicbrainz.org"
        return [("musicbrainz_trackid", frame.data.decode("ascii"))] if known else []
    name = names.ID3.get(kind, kind)
    if kind in ("TXXX", "WXXX"):
        name = frame.desc or name
    elif kind in ("COMM", "USLT") and frame.desc not in ("", "ID3v1 Comment"):
        name = f"{name}:{frame.desc}"
    if kind.startswith("W"):
        return [(name, frame.url)]
    values = frame.genres if kind == "TCON" else frame.text
    return [(name, str(value)) for value in ([values] if isinstance(values, str) else values)]


def _read_mp4(block: bytes) -> Pairs:
    file = BytesIO(block)
    found: Pairs = []
    for atom, values in MP4Tags(Atoms(file), file).items():
        with suppress(AttributeError, ValueError):
            found += _mp4_pairs(atom, values if isinstance(values, list) else [values])
    return found


def _mp4_pairs(atom: str, values: list[Any]) -> Pairs:
    if atom == "cpil":
        return [("compilation", "1")] if values[0] else []
    name = names.MP4.get(atom, atom.removeprefix("©"))
    if atom.startswith("----:"):
        name = atom.split(":", 2)[2]
        return [(name, bytes(value).decode()) for value in values if value.dataformat in (0, 1)]
    if atom in ("trkn", "disk"):
        return [(name, f"{number}/{total}" if total else str(number)) for number, total in values if number]
    return [(name, str(value)) for value in values if isinstance(value, str) or atom == "tmpo"]


def _read_asf(block: bytes) -> Pairs:
    tags: Any = ASF(BytesIO(block)).tags
    return [
        (names.ASF.get(field, field.lower().removeprefix("wm/")), str(value))
        for field, value in tags
        if isinstance(value.value, str) or field in ("WM/TrackNumber", "WM/PartOfSet")
    ]


def _native(read: Callable[[Source, int, int], Sound]) -> rare.Reader:
    return lambda file, source, start, end: read(source, start, end)


_READERS: dict[Format, rare.Reader] = {
    Format.AAC: _native(adts.read),
    Format.AC3: _native(ac3.read),
    Format.AIFF: _native(aiff.read),
    Format.AMR: _native(amr.read),
    Format.AU: _native(au.read),
    Format.CAF: _native(caf.read),
    Format.DTS: _native(dts.read),
    Format.LATM: _native(latm.read),
    Format.TRANSPORT_STREAM: _native(transport.read),
    Format.VOC: _native(voc.read),
    Format.FLAC: _native(flac.read),
    Format.MATROSKA: _native(matroska.read),
    Format.MP4: _native(mp4.read),
    Format.MPEG: _native(mpeg.read),
    Format.OGG: _native(ogg.read),
    Format.WAVE: _native(wave.read),
    Format.WAVE64: _native(wave.read_wave64),
    Format.ASF: _native(asf.read),
    Format.DSF: rare.read_dsf,
    Format.DSDIFF: rare.read_dsdiff,
    Format.ADIF: rare.READ_ADIF,
    Format.APE: rare.read_ape,
    Format.MUSEPACK: rare.read_musepack,
    Format.OPTIMFROG: rare.READ_OPTIMFROG,
    Format.TAK: rare.READ_TAK,
    Format.TRUE_AUDIO: _native(trueaudio.read),
    Format.WAVPACK: _native(wavpack.read),
}
