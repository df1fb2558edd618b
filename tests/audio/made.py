"""Audio of every format that the programs at hand can make, and what ffmpeg says of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 2.5


@dataclass(frozen=True)
class Kind:
    """A format, the options that make ffmpeg write it, and what a probe has to find in it."""

    name: str
    ending: str
    media_type: str
    codec: str
    options: tuple[str, ...] = ()
    rates: tuple[int, ...] = (8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000)
    channels: tuple[int, ...] = (1, 2)

    def __str__(self) -> str:
        return self.name


_UP_TO_48 = (8000, 11025, 16000, 22050, 32000, 44100, 48000)
_OPUS = (8000, 16000, 48000)
_MANY = (1, 2, 4, 6, 8)
_BARE = ("-b:a", "64k", "-write_xing", "0", "-id3v2_version", "0")
_FRAGMENTS = ("-c:a", "aac", "-movflags", "empty_moov", "-frag_duration", "400000")
_MP3_IN_MP4 = (16000, 22050, 32000, 44100, 48000)

KINDS = (
    Kind("mp3", "mp3", "audio/mpeg", "mp3", ("-b:a", "64k"), _UP_TO_48),
    Kind("mp3-vbr", "mp3", "audio/mpeg", "mp3", ("-q:a", "4"), _UP_TO_48),
    Kind("mp3-bare", "mp3", "audio/mpeg", "mp3", _BARE, _UP_TO_48),
    Kind("mp3-vbr-bare", "mp3", "audio/mpeg", "mp3", ("-q:a", "4", "-write_xing", "0"), _UP_TO_48),
    Kind("mp2", "mp2", "audio/mpeg", "mp2", (), (16000, 22050, 32000, 44100, 48000)),
    Kind("adts", "aac", "audio/aac", "aac", channels=(1, 2, 4, 6, 8)),
    Kind("ac3", "ac3", "audio/ac3", "ac3", (), (32000, 44100, 48000), (1, 2, 4, 6)),
    Kind("eac3", "eac3", "audio/eac3", "eac3", (), (32000, 44100, 48000), (1, 2, 4, 6)),
    Kind("flac", "flac", "audio/flac", "flac", channels=_MANY),
    Kind("vorbis", "ogg", "audio/ogg", "vorbis", ("-c:a", "libvorbis"), channels=_MANY),
    Kind("opus", "opus", "audio/ogg", "opus", ("-c:a", "libopus"), _OPUS),
    Kind("speex", "spx", "audio/ogg", "speex", ("-c:a", "libspeex"), (8000, 16000, 32000)),
    Kind("ogg-flac", "oga", "audio/ogg", "flac", ("-c:a", "flac")),
    Kind("m4a", "m4a", "audio/mp4", "aac", ("-c:a", "aac"), channels=(1, 2, 4, 6, 8)),
    Kind("m4a-index-first", "m4a", "audio/mp4", "aac", ("-c:a", "aac", "-movflags", "+faststart")),
    Kind("m4a-fragments", "m4a", "audio/mp4", "aac", _FRAGMENTS),
    Kind("alac", "m4a", "audio/mp4", "alac", ("-c:a", "alac"), channels=(1, 2, 4, 6, 8)),
    Kind("mp4-flac", "mp4", "audio/mp4", "flac", ("-c:a", "flac", "-strict", "-2")),
    Kind("mp4-mp3", "mp4", "audio/mp4", "mp3", ("-c:a", "libmp3lame"), _MP3_IN_MP4, (2,)),
    Kind("mp4-opus", "mp4", "audio/mp4", "opus", ("-c:a", "libopus"), (48000,)),
    Kind("mp4-ac3", "mp4", "audio/mp4", "ac3", ("-c:a", "ac3"), (32000, 44100, 48000), (1, 2, 6)),
    Kind("mp4-eac3", "mp4", "audio/mp4", "eac3", ("-c:a", "eac3"), (32000, 44100, 48000), (1, 2, 6)),
    Kind("mov", "mov", "audio/mp4", "pcm", ("-c:a", "pcm_s16le")),
    Kind("wav", "wav", "audio/wav", "pcm", channels=_MANY),
    Kind("wav-8", "wav", "audio/wav", "pcm", ("-c:a", "pcm_u8")),
    Kind("wav-24", "wav", "audio/wav", "pcm", ("-c:a", "pcm_s24le"), channels=_MANY),
    Kind("wav-float", "wav", "audio/wav", "pcm", ("-c:a", "pcm_f32le")),
    Kind("wav-mulaw", "wav", "audio/wav", "mulaw", ("-c:a", "pcm_mulaw")),
    Kind("wav-adpcm-ima", "wav", "audio/wav", "adpcm", ("-c:a", "adpcm_ima_wav")),
    Kind("wav-adpcm-ms", "wav", "audio/wav", "adpcm", ("-c:a", "adpcm_ms")),
    Kind("wav-mp3", "wav", "audio/wav", "mp3", ("-c:a", "libmp3lame"), _UP_TO_48),
    Kind("rf64", "wav", "audio/wav", "pcm", ("-rf64", "always")),
    Kind("aiff", "aiff", "audio/aiff", "pcm", channels=_MANY),
    Kind("aifc", "aif", "audio/aiff", "pcm", ("-c:a", "pcm_s16le")),
    Kind("aifc-mulaw", "aif", "audio/aiff", "mulaw", ("-c:a", "pcm_mulaw")),
    Kind("wma", "wma", "audio/x-ms-wma", "wma", ("-c:a", "wmav2"), _UP_TO_48),
    Kind("wma1", "wma", "audio/x-ms-wma", "wma", ("-c:a", "wmav1"), _UP_TO_48),
    Kind("webm", "webm", "audio/webm", "opus", ("-c:a", "libopus"), (48000,)),
    Kind("webm-vorbis", "webm", "audio/webm", "vorbis", ("-c:a", "libvorbis")),
    Kind("matroska", "mka", "audio/matroska", "aac", ("-c:a", "aac"), (16000, 44100, 48000)),
    Kind("matroska-flac", "mka", "audio/matroska", "flac", ("-c:a", "flac")),
    Kind("w64", "w64", "audio/x-w64", "pcm", channels=_MANY),
    Kind("au", "au", "audio/basic", "pcm", channels=_MANY),
    Kind("au-mulaw", "au", "audio/basic", "mulaw", ("-c:a", "pcm_mulaw")),
    Kind("caf", "caf", "audio/x-caf", "pcm", channels=_MANY),
    Kind("caf-alac", "caf", "audio/x-caf", "alac", ("-c:a", "alac")),
    Kind("caf-opus", "caf", "audio/x-caf", "opus", ("-c:a", "libopus"), (48000,)),
    Kind("caf-ima", "caf", "audio/x-caf", "adpcm", ("-c:a", "adpcm_ima_qt")),
    Kind("ts-aac", "ts", "audio/mp2t", "aac", ("-c:a", "aac"), (16000, 44100, 48000)),
    Kind("ts-mp3", "ts", "audio/mp2t", "mp3", ("-c:a", "libmp3lame"), (32000, 44100, 48000)),
    Kind("ts-mp2", "ts", "audio/mp2t", "mp2", ("-c:a", "mp2"), (32000, 44100, 48000)),
    Kind("ts-ac3", "ts", "audio/mp2t", "ac3", ("-c:a", "ac3"), (32000, 44100, 48000)),
    Kind("ts-eac3", "ts", "audio/mp2t", "eac3", ("-c:a", "eac3"), (32000, 44100, 48000)),
    Kind("ts-dts", "ts", "audio/mp2t", "dts", ("-c:a", "dca", "-strict", "-2"), (44100, 48000), (1, 2, 6)),
    Kind("m2ts", "m2ts", "audio/mp2t", "ac3", ("-c:a", "ac3"), (32000, 44100, 48000)),
    Kind("dts", "dts", "audio/vnd.dts", "dts", ("-c:a", "dca", "-strict", "-2"), (44100, 48000), (1, 2, 6)),
    Kind("latm", "latm", "audio/x-loas", "aac", ("-c:a", "aac"), (16000, 44100, 48000)),
    Kind("voc", "voc", "audio/x-voc", "pcm", ("-c:a", "pcm_u8"), (8000, 11025, 22050, 44100)),
    Kind("voc-16", "voc", "audio/x-voc", "pcm", ("-c:a", "pcm_s16le"), (8000, 11025, 22050, 44100)),
    Kind("wavpack", "wv", "audio/x-wavpack", "wavpack", channels=_MANY),
    Kind("tta", "tta", "audio/x-tta", "tta", channels=_MANY),
)  # fmt: skip

BY_NAME = {kind.name: kind for kind in KINDS}


def make(folder: Path, kind: Kind, rate: int, channels: int) -> Path:
    """A tone; what was made before in the same folder is given again, so do not change it."""
    (path,) = make_many(folder, [(kind, rate, channels)])
    return path


def make_many(folder: Path, wanted: Sequence[tuple[Kind, int, int]]) -> list[Path]:
    """Tones of several kinds, rates and channels by one ffmpeg, whose start takes longer than its work."""
    paths = [folder / f"{kind.name}-{rate}-{channels}.{kind.ending}" for kind, rate, channels in wanted]
    rates = sorted({rate for _, rate, _ in wanted})
    inputs = [f"sine=frequency=440:sample_rate={rate}:duration={SECONDS}" for rate in rates]
    outputs: list[str | Path] = []
    for path, (kind, rate, channels) in zip(paths, wanted, strict=True):
        if not path.exists():
            shape = ("-ac", str(channels), *kind.options, "-ar", str(rate))
            outputs += ["-map", f"{rates.index(rate)}:a", *shape, path]
    if outputs:
        ffmpeg(*(part for source in inputs for part in ("-f", "lavfi", "-i", source)), *outputs)
    return paths


def copy(folder: Path, name: str, to: Path) -> Path:
    """A copy, to change, of a stereo tone of the kind with that name."""
    kind = BY_NAME[name]
    path = make(folder, kind, 44100 if 44100 in kind.rates else kind.rates[-1], 2)
    return Path(shutil.copy(path, to / path.name))


def ffmpeg(*arguments: str | Path) -> bytes:
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def ffprobe(path: Path) -> dict[str, Any]:
    """The first stream of sound, with `duration` of the whole file."""
    shown = "format=duration:stream=codec_type,sample_rate,channels"
    found = subprocess.run(
        ["ffprobe", "-v", "quiet", "-of", "json", "-show_entries", shown, path],
        check=True,
        capture_output=True,
    )
    answer = json.loads(found.stdout)
    stream = next(stream for stream in answer["streams"] if stream["codec_type"] == "audio")
    return {
        "duration": float(answer["format"].get("duration", "nan")),
        "sample_rate": int(stream["sample_rate"]),
        "channels": int(stream["channels"]),
    }


def decoded_seconds(path: Path) -> float:
    """How long the sound is when it is played: what ffprobe estimates, this counts."""
    rate = int(ffprobe(path)["sample_rate"])
    pcm = ffmpeg("-i", path, "-map", "0:a:0", "-f", "s16le", "-ac", "1", "-ar", str(rate), "-")
    return len(pcm) / 2 / rate


def frames(count: int = 40) -> bytes:
    """Frames of MPEG-1 layer III, 128 kbit/s, 44.1 kHz, stereo, of silence."""
    return (b"\xff\xfb\x90\x00" + bytes(413)) * count


def id3_tag(payload: bytes) -> bytes:
    """An ID3v2.3 tag with these frames."""
    size = len(payload)
    return b"ID3\3\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + payload
