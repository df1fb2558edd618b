"""Musepack SV7 and SV8 (`.mpc`): the stream header, as https://trac.musepack.net/musepack/wiki has it.

Read here and not by mutagen, which goes round in circles over a packet that is shorter than its own header.
"""

from __future__ import annotations

from mosic.audio.source import Sound, Source
from mosic.errors import UnreadableMedia

_SAMPLE_RATES = (44100, 48000, 37800, 32000)
_MOST_PACKETS = 64


def read(source: Source, start: int, end: int) -> Sound:
    """The file whose `MPCK` or `MP+` stands at `start`."""
    if source.read(start, 4) == b"MPCK":
        samples, sample_rate, channels = _version_8(source, start + 4)
    else:
        samples, sample_rate, channels = _version_7(source.read(start, 28))
    seconds = max(samples, 0) / sample_rate
    bitrate = round((end - start) * 8 / seconds) if seconds else None
    return Sound("audio/x-musepack", "musepack", seconds, bitrate, sample_rate, channels)


def _version_7(header: bytes) -> tuple[int, int, int]:
    if len(header) < 28 or header[3] & 15 != 7:
        raise UnreadableMedia("This version of Musepack is not supported.")
    frames, flags = int.from_bytes(header[4:8], "little"), int.from_bytes(header[8:12], "little")
    # The decoder is half a frame behind.
    return frames * 1152 - 576, _SAMPLE_RATES[flags >> 16 & 3], 2


def _version_8(source: Source, at: int) -> tuple[int, int, int]:
    for _ in range(_MOST_PACKETS):
        packet = source.read(at, 64)
        size, content = _number(packet, 2)
        if packet[:2] == b"SH":
            samples, after = _number(packet, content + 5)
            silence, after = _number(packet, after)
            rate, channels = packet[after : after + 1], packet[after + 1 : after + 2]
            if not channels or rate[0] >> 5 >= len(_SAMPLE_RATES):
                break
            return samples - silence, _SAMPLE_RATES[rate[0] >> 5], (channels[0] >> 4) + 1
        if size < content:
            break
        at += size
    raise UnreadableMedia("The Musepack file has no stream header.")


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    number = 0
    for byte in data[at : at + 9]:
        at += 1
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            break
    return number, at
