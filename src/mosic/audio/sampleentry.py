"""What an MP4 sample description says of the sound: codec, sample rate, channels.

ISO/IEC 14496-12 §12.2.3, with the codecs' own boxes: `esds` (14496-1 §7.2.6, 14496-3 §1.6.2.1), `alac`
(Apple's "ALAC Magic Cookie Description"), `dac3` and `dec3` (ETSI TS 102 366 annex F).
"""

from __future__ import annotations

import struct

_CODECS = {
    b"mp4a": "aac", b"drms": "aac", b"alac": "alac", b"Opus": "opus", b"fLaC": "flac", b".mp3": "mp3",
    b"ac-3": "ac3", b"ec-3": "eac3", b"samr": "amr", b"sawb": "amr-wb", b"alaw": "alaw", b"ulaw": "mulaw",
    b"ima4": "adpcm", b"sowt": "pcm", b"twos": "pcm", b"lpcm": "pcm", b"raw ": "pcm", b"NONE": "pcm",
    b"in24": "pcm", b"in32": "pcm", b"fl32": "pcm", b"fl64": "pcm", b"ipcm": "pcm", b"fpcm": "pcm",
}  # fmt: skip
# The object type of `esds`, where it is not AAC.
_OBJECT_TYPES = {
    0x69: "mp3", 0x6B: "mp3", 0xA5: "ac3", 0xA6: "eac3", 0xA9: "dts", 0xAA: "dts", 0xAB: "dts", 0xAC: "dts",
    0xAD: "opus", 0xDD: "vorbis", 0xE1: "qcelp",
}  # fmt: skip
_LOW_DELAY, _ENHANCED_LOW_DELAY = 23, 39
_SAMPLE_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_AAC_CHANNELS = {**{number: number for number in range(1, 7)}, 7: 8, 11: 7, 12: 8, 14: 8}
_AC3_CHANNELS = (2, 1, 2, 3, 3, 4, 4, 5)
_SBR, _PARAMETRIC_STEREO, _ESCAPE = 5, 29, 31


def describe(description: bytes) -> tuple[str, int, int]:
    """Codec, sample rate and channels from the payload of `stsd`; 0 where it does not say."""
    entry = description[8:]
    name = entry[4:8]
    codec = _CODECS.get(name, name.decode("latin-1").strip(" .\0").lower())
    channels, sample_rate = int.from_bytes(entry[24:26], "big"), int.from_bytes(entry[32:34], "big")
    if entry[16:18] == b"\0\x02" and len(entry) >= 52:  # version 2 of QuickTime's sound description
        sample_rate, channels = int(struct.unpack(">d", entry[40:48])[0]), int.from_bytes(entry[48:52], "big")
    # The fields above are often constants; the description of the codec counts.
    inner = entry[36:]
    if (at := inner.find(b"esds")) >= 0:
        object_type, configuration = _decoder_configuration(inner[at + 8 :])
        codec = _OBJECT_TYPES.get(object_type, codec)
        if codec == "aac":
            said_rate, said_channels = aac_rate_and_channels(configuration)
            return codec, said_rate or sample_rate, said_channels if configuration else channels
    elif name == b"alac" and (at := inner.find(b"alac")) >= 0 and len(inner) >= at + 32:
        return codec, int.from_bytes(inner[at + 28 : at + 32], "big"), inner[at + 17]
    elif (at := inner.find(b"dac3")) >= 0:
        bits = int.from_bytes(inner[at + 4 : at + 7], "big")
        return codec, sample_rate, _AC3_CHANNELS[bits >> 11 & 7] + (bits >> 10 & 1)
    elif (at := inner.find(b"dec3")) >= 0:
        bits = int.from_bytes(inner[at + 4 : at + 8], "big")
        return codec, sample_rate, _AC3_CHANNELS[bits >> 1 & 7] + (bits & 1)
    elif codec.startswith("amr"):
        return codec, 16000 if codec == "amr-wb" else 8000, 1
    return codec, sample_rate, channels


def frame_seconds(description: bytes) -> float:
    """How long one sample of AAC or ALAC lasts for a decoder; 0 where it is not known."""
    entry = description[8:]
    inner = entry[36:]
    if (at := inner.find(b"esds")) >= 0 and describe(description)[0] == "aac":
        _, configuration = _decoder_configuration(inner[at + 8 :])
        bits = Bits(configuration)
        kind, rate = _object_type(bits), _frequency(bits)
        samples = 512 if kind in (_LOW_DELAY, _ENHANCED_LOW_DELAY) else 1024
        return samples / rate if rate else 0
    if entry[4:8] == b"alac" and (at := inner.find(b"alac")) >= 0 and len(inner) >= at + 32:
        rate = int.from_bytes(inner[at + 28 : at + 32], "big")
        return int.from_bytes(inner[at + 8 : at + 12], "big") / rate if rate else 0
    return 0


def _decoder_configuration(data: bytes) -> tuple[int, bytes]:
    """Object type and decoder specific info from the descriptors in `esds`."""
    tag, at = _descriptor(data, 0)
    if tag != 3 or len(data) < at + 3:
        return 0, b""
    flags = data[at + 2]
    at += (
        3
        + (2 if flags & 0x80 else 0)
        + (data[at + 3] + 1 if flags & 0x40 else 0)
        + (2 if flags & 0x20 else 0)
    )
    tag, at = _descriptor(data, at)
    if tag != 4 or len(data) < at + 13:
        return 0, b""
    object_type = data[at]
    tag, at = _descriptor(data, at + 13)
    return object_type, data[at : at + 64] if tag == 5 else b""


def _descriptor(data: bytes, at: int) -> tuple[int, int]:
    """Tag of the descriptor at `at`, and where its content begins."""
    content = at + 1
    while content < min(at + 4, len(data)) and data[content] & 0x80:
        content += 1
    return data[at] if at < len(data) else 0, content + 1


class Bits:
    """Reads bits from the front; zeros after the end."""

    def __init__(self, data: bytes) -> None:
        self._number, self._left = int.from_bytes(data, "big"), len(data) * 8

    def take(self, count: int) -> int:
        self._left -= count
        number = self._number >> self._left if self._left >= 0 else self._number << -self._left
        return number & ((1 << count) - 1)


def aac_rate_and_channels(configuration: bytes) -> tuple[int, int]:
    """From an AudioSpecificConfig. SBR doubles the sample rate, parametric stereo the channels."""
    bits = Bits(configuration)
    object_type, sample_rate = _object_type(bits), _frequency(bits)
    channels = _AAC_CHANNELS.get(bits.take(4), 0)
    if object_type in (_SBR, _PARAMETRIC_STEREO):
        return _frequency(bits), 2 if object_type == _PARAMETRIC_STEREO and channels == 1 else channels
    bits.take(3)
    if bits.take(11) == 0x2B7 and _object_type(bits) == _SBR and bits.take(1):
        sample_rate = _frequency(bits) or sample_rate
        if bits.take(11) == 0x548 and bits.take(1) and channels == 1:
            channels = 2
    return sample_rate, channels


def aac_core_rate(configuration: bytes) -> int:
    """The sample rate without SBR, by which the frames have 1,024 samples; 0 when it is not known."""
    bits = Bits(configuration)
    _object_type(bits)
    return _frequency(bits)


def decoder_channels(descriptors: bytes) -> int:
    """Channels by the AudioSpecificConfig in the descriptors of `esds`; 0 when they do not say."""
    object_type, configuration = _decoder_configuration(descriptors)
    return aac_rate_and_channels(configuration)[1] if object_type and configuration else 0


def _object_type(bits: Bits) -> int:
    number = bits.take(5)
    return 32 + bits.take(6) if number == _ESCAPE else number


def _frequency(bits: Bits) -> int:
    index = bits.take(4)
    if index == 15:
        return bits.take(24)
    return _SAMPLE_RATES[index] if index < len(_SAMPLE_RATES) else 0
