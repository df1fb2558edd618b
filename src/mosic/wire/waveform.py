"""Waveforms: the audiowaveform data format version 2, and what is made of it for clients.

https://github.com/bbc/audiowaveform/blob/master/doc/DataFormat.md. A waveform here has one channel. Nothing
needs more than the standard library: waveforms are also served where nothing that decodes audio is installed.
"""

from __future__ import annotations

import json
import struct
import sys
from array import array
from dataclasses import dataclass

MEDIA_TYPE = "application/octet-stream"
FULL_SCALE = 32768

MOST_PIXELS = 32768
"""In a waveform that is stored."""

_HEADER = struct.Struct("<iIiiIi")
MOST_BYTES = _HEADER.size + 4 * MOST_PIXELS
"""Of a waveform that is stored."""

_VERSION = 2
_8_BITS = 1


@dataclass(frozen=True, slots=True)
class Waveform:
    """The lowest and the highest sample of every `samples_per_pixel` samples, in order."""

    sample_rate: int
    samples_per_pixel: int
    peaks: array[int]
    """Minimum, maximum, minimum, …: of 16 bits (`h`), as they are stored, or of 8 (`b`)."""

    @property
    def bits(self) -> int:
        return 8 * self.peaks.itemsize

    @property
    def length(self) -> int:
        """How many pairs there are."""
        return len(self.peaks) // 2

    def resampled(self, points: int) -> Waveform:
        """The same in at most `points` pairs, each for the same whole number of the pairs that there are: a
        pixel then still has a whole number of samples, as the format needs."""
        together = -(-self.length // points)
        if together <= 1:
            return self
        lows, highs = self.peaks[::2], self.peaks[1::2]
        peaks = array(self.peaks.typecode)
        for start in range(0, self.length, together):
            peaks.append(min(lows[start : start + together]))
            peaks.append(max(highs[start : start + together]))
        return Waveform(self.sample_rate, self.samples_per_pixel * together, peaks)

    def in_8_bits(self) -> Waveform:
        """The same for programs that know no others, such as peaks.js. Rounded towards zero, as the program
        `audiowaveform` does it: what is too quiet is silence."""
        peaks = array("b", (value // 256 if value >= 0 else -(-value // 256) for value in self.peaks))
        return Waveform(self.sample_rate, self.samples_per_pixel, peaks)

    def as_dat(self) -> bytes:
        flags = _8_BITS if self.bits == 8 else 0
        header = _HEADER.pack(_VERSION, flags, self.sample_rate, self.samples_per_pixel, self.length, 1)
        return header + _little_endian(self.peaks).tobytes()

    def as_json(self) -> bytes:
        members = {
            "version": _VERSION,
            "channels": 1,
            "sample_rate": self.sample_rate,
            "samples_per_pixel": self.samples_per_pixel,
            "bits": self.bits,
            "length": self.length,
            "data": self.peaks.tolist(),
        }
        return json.dumps(members, separators=(",", ":")).encode("ascii") + b"\n"


def read_dat(data: bytes) -> Waveform:
    """What `Waveform.as_dat` has made of 16 bits; ValueError for anything else."""
    if len(data) < _HEADER.size:
        raise ValueError("the data has no header")
    version, flags, sample_rate, samples_per_pixel, length, channels = _HEADER.unpack_from(data)
    if (version, flags, channels) != (_VERSION, 0, 1) or sample_rate < 1 or samples_per_pixel < 1:
        raise ValueError("the data is not a waveform of one channel and 16 bits")
    if len(data) != _HEADER.size + 4 * length:
        raise ValueError("the data is shorter or longer than its header says")
    peaks = array("h")
    peaks.frombytes(data[_HEADER.size :])
    return Waveform(sample_rate, samples_per_pixel, _little_endian(peaks))


def _little_endian(values: array[int]) -> array[int]:
    if sys.byteorder == "little":
        return values
    swapped = array(values.typecode, values)
    swapped.byteswap()
    return swapped
