"""What a file sounds like: waveform, loudness and silence, from one pass over its decoded audio.

Only for the processes that may crash (`mosic.audio.isolation`): it is the one user of FFmpeg's libraries.
"""

from __future__ import annotations

import importlib
import io
import struct
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer

from mosic.audio.envelope import Envelope
from mosic.audio.loudness import Loudness, Meter
from mosic.audio.refused import Refused
from mosic.wire.waveform import Waveform

_DEMUXERS = {
    "audio/mpeg": "mp3",
    "audio/aac": "aac",
    "audio/mp4": "mov,mp4,m4a,3gp,3g2,mj2",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/wav": "wav",
    "audio/x-w64": "w64",
    "audio/aiff": "aiff",
    "audio/x-ms-wma": "asf",
    "audio/x-wavpack": "wv",
    "audio/x-ape": "ape",
    "audio/x-musepack": "mpc,mpc8",
    "audio/x-tta": "tta",
    "audio/x-tak": "tak",
    "audio/x-dsf": "dsf",
    "audio/x-dff": "iff",
    "audio/ac3": "ac3",
    "audio/eac3": "eac3",
    "audio/vnd.dts": "dts",
    "audio/amr": "amr",
    "audio/amr-wb": "amr",
    "audio/x-caf": "caf",
    "audio/basic": "au",
    "audio/x-voc": "voc",
    "audio/x-loas": "loas",
    "audio/mp2t": "mpegts",
    "audio/matroska": "matroska,webm",
    "audio/webm": "matroska,webm",
}


class NotDecodable(Refused):
    """The file has no audio that can be decoded; says why in words for people."""

    def __init__(self, detail: str) -> None:
        super().__init__("not-decodable", detail)


class TooLong(Refused):
    """To decode the file takes more time than it may."""

    def __init__(self) -> None:
        super().__init__("too-long", "Decoding this file takes too long.")


@dataclass(frozen=True, slots=True)
class Sound:
    """What was measured. `silence`: seconds before the first and behind the last sound; both are the whole
    duration when there is none."""

    waveform: Waveform
    loudness: Loudness
    silence: tuple[float, float]


def listen(file: BinaryIO, media_type: str, *, seconds: float) -> Sound:
    """Decode the file, of which `media_type` is known, in at most `seconds` of processor time.

    Broken packets are passed over, and where the file breaks off what came before it counts. Raises
    NotDecodable, also when more packets are broken than are not, and TooLong.
    """
    envelope: Envelope | None = None
    meter: Meter | None = None
    for frame in _alike(_decoded(file, media_type, seconds=seconds)):
        if meter is None or envelope is None:
            meter, envelope = Meter(frame), Envelope(frame.sample_rate)
        for block in meter.push(frame):
            envelope.add(block)
    if meter is None or envelope is None:
        raise NotDecodable("Nothing in this file can be decoded.")
    for block in meter.push(None):
        envelope.add(block)
    return Sound(envelope.waveform(), meter.loudness(), envelope.silence())


def task(file: BinaryIO, arguments: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """`listen` for a process of `mosic.audio.worker`: the numbers, and the waveform as data."""
    found = listen(file, arguments["media_type"], seconds=arguments["seconds"])
    leading, trailing = found.silence
    numbers = {**asdict(found.loudness), "leading_silence": leading, "trailing_silence": trailing}
    return numbers, found.waveform.as_dat()


def prepare() -> None:
    """Load all that `listen` needs, before the process gives up opening files: a short WAV does it, and the
    parts of PyAV that are loaded when a file has other streams."""
    for name in ("audio", "video", "subtitles"):
        importlib.import_module(f"av.{name}.codeccontext")
        importlib.import_module(f"av.{name}.stream")
    size = 2 * 4096
    header = struct.pack(
        "<4sI8sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVEfmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", size
    )
    listen(io.BytesIO(header + bytes(size)), "audio/wav", seconds=60)


def _decoded(file: BinaryIO, media_type: str, *, seconds: float) -> Iterator[AudioFrame]:
    end = time.process_time() + seconds
    whole = broken = 0
    with _opened(file, media_type) as container:
        stream = _audio(container)
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:  # it breaks off here
                packet = None
            except IndexError:  # PyAV 18.1: of a stream that began midway
                packets = container.demux(stream)
                continue
            if packet is None:
                break
            if time.process_time() > end:
                raise TooLong
            try:
                frames = packet.decode()
            except av.FFmpegError:
                broken += 1
                continue
            for frame in frames:
                assert isinstance(frame, AudioFrame)
                if frame.samples:
                    whole += 1
                    yield frame
    if broken > whole:
        raise NotDecodable("Most of this file cannot be decoded.")


def _opened(file: BinaryIO, media_type: str) -> InputContainer:
    if media_type not in _DEMUXERS:
        raise NotDecodable("There is no decoder for files of this type.")
    options = {
        # By the type that was found: nothing in the file decides about the reader, or names another file.
        "format_whitelist": _DEMUXERS[media_type],
        "protocol_whitelist": "",
    }
    try:
        return av.open(file, "r", metadata_errors="replace", options=options)
    except av.FFmpegError as error:
        raise NotDecodable("This file cannot be opened by the decoder.") from error


def _audio(container: InputContainer) -> AudioStream:
    if not container.streams.audio:
        raise NotDecodable("The decoder finds no audio in this file.")
    stream = container.streams.audio[0]
    try:
        stream.codec_context.thread_count = 1
    except (AttributeError, av.FFmpegError) as error:
        raise NotDecodable("There is no decoder for the codec of this file.") from error
    return stream


def _alike(frames: Iterator[AudioFrame]) -> Iterator[AudioFrame]:
    """The frames with the format, the layout and the rate of the first: some files change them midway."""
    first: AudioFrame | None = None
    resampler: AudioResampler | None = None
    resampled: tuple[object, ...] = ()
    for frame in frames:
        first = first or frame
        # The blocks that are made of them follow each other without gaps, whatever the file's clock says.
        frame.pts = None
        if _form(frame) == _form(first):
            yield frame
            continue
        if resampler is None or resampled != _form(frame):
            resampler = AudioResampler(first.format, first.layout, first.sample_rate)
            resampled = _form(frame)
        yield from resampler.resample(frame)


def _form(frame: AudioFrame) -> tuple[object, ...]:
    return frame.format.name, frame.layout.name, frame.sample_rate
