"""The one table of accepted files: name, media type, and endings of file names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileType:
    """A kind of file. The first of `endings` is offered when it is saved, unless `by_codec` has a better one;
    `of_films` are those among them that mostly mean a film."""

    name: str
    media_type: str
    endings: tuple[str, ...]
    of_films: frozenset[str] = frozenset()
    by_codec: tuple[tuple[str, str], ...] = ()


def _type(name: str, media_type: str, endings: str, *, of_films: str = "", **by_codec: str) -> FileType:
    return FileType(
        name, media_type, tuple(endings.split()), frozenset(of_films.split()), tuple(by_codec.items())
    )


FILE_TYPES = (
    _type("MP3", "audio/mpeg", "mp3 mp2 mp1 mpa mpga m2a", mp2="mp2", mp1="mp1"),
    _type("AAC", "audio/aac", "aac adts adif"),
    _type(
        "MP4/M4A",
        "audio/mp4",
        "m4a m4b m4r m4p mp4a f4a f4b 3ga mp4 m4v f4v mov qt 3gp 3gpp 3g2 3gp2",
        of_films="mp4 m4v f4v mov qt 3gp 3gpp 3g2 3gp2",
    ),
    _type("FLAC", "audio/flac", "flac"),
    _type(
        "Ogg (Vorbis, Opus, Speex, FLAC)",
        "audio/ogg",
        "ogg oga opus spx ogv ogm ogx",
        of_films="ogv ogm ogx",
        opus="opus",
        speex="spx",
        flac="oga",
    ),
    _type("WAV", "audio/wav", "wav wave bwf rf64"),
    _type("Wave64", "audio/x-w64", "w64"),
    _type("AIFF", "audio/aiff", "aiff aif aifc afc"),
    _type("WMA", "audio/x-ms-wma", "wma asf wmv", of_films="wmv"),
    _type("WavPack", "audio/x-wavpack", "wv"),
    _type("APE", "audio/x-ape", "ape"),
    _type("Musepack", "audio/x-musepack", "mpc mp+ mpp"),
    _type("TrueAudio", "audio/x-tta", "tta"),
    _type("TAK", "audio/x-tak", "tak"),
    _type("OptimFROG", "audio/x-ofr", "ofr ofs"),
    _type("DSF", "audio/x-dsf", "dsf"),
    _type("DSDIFF", "audio/x-dff", "dff"),
    _type("AC-3", "audio/ac3", "ac3"),
    _type("E-AC-3", "audio/eac3", "eac3 ec3"),
    _type("DTS", "audio/vnd.dts", "dts"),
    _type("AMR", "audio/amr", "amr"),
    _type("AMR-WB", "audio/amr-wb", "awb"),
    _type("CAF (PCM, ALAC, Opus, AAC)", "audio/x-caf", "caf caff"),
    _type("AU/SND", "audio/basic", "au snd"),
    _type("VOC", "audio/x-voc", "voc"),
    _type("LATM", "audio/x-loas", "loas latm"),
    _type("MPEG-TS (AAC, MP3, AC-3, DTS)", "audio/mp2t", "ts m2ts mts", of_films="ts m2ts mts"),
    _type("Matroska", "audio/matroska", "mka mkv", of_films="mkv"),
    _type("WebM", "audio/webm", "webm weba", of_films="webm"),
)
_BY_MEDIA_TYPE = {one.media_type: one for one in FILE_TYPES}
_MEDIA_TYPES = {ending: one.media_type for one in FILE_TYPES for ending in one.endings}

SOUND_ENDINGS = frozenset(
    f".{ending}" for one in FILE_TYPES for ending in one.endings if ending not in one.of_films
)
"""Lower-case, with the dot: a file that is called so is sound, and hardly ever a film."""


def ending_for(media_type: str | None, codec: str | None) -> str:
    """The ending to save such a file with, such as `.opus`; empty for a type that is not in the table."""
    known = _BY_MEDIA_TYPE.get(media_type or "")
    return "." + dict(known.by_codec).get(codec or "", known.endings[0]) if known else ""


def media_type_for(file_name: str) -> str | None:
    """By the ending of a file name; None when it is not in the table. It proves nothing about the content."""
    _, dot, ending = file_name.rpartition(".")
    return _MEDIA_TYPES.get(ending.lower()) if dot else None


def without_ending(file_name: str) -> str:
    """«Song.mp3» → «Song». What follows the last dot of «Mr. Smith goes to town» is no ending, and stays."""
    return file_name.rpartition(".")[0] if media_type_for(file_name) else file_name
