"""True Audio (`.tta`): header and seek table, as http://tausoft.org/wiki/True_Audio_Codec_Format has them."""

from __future__ import annotations

import struct
import sys
from array import array

from mosic.audio.source import Sound, Source
from mosic.errors import UnreadableMedia

_LARGEST_TABLE = 16 << 20


def read(source: Source, start: int, end: int, *, largest_table: int = _LARGEST_TABLE) -> Sound:
    """The file whose `TTA1` stands at `start`; without a duration when its table is larger than that."""
    header = source.read(start, 22)
    if len(header) < 22:
        raise UnreadableMedia("The file ends within its header.")
    channels, _, sample_rate, samples = struct.unpack("<HHII", header[6:18])
    if sample_rate == 0:
        raise UnreadableMedia("The file states no sample rate.")
    # A table of the sizes of the frames follows, each of 256/245 of a second, and then these.
    frames = -(-samples * 245 // (sample_rate * 256))
    data = source.read(start + 22, min(4 * frames, largest_table))
    table = array("I", data[: len(data) // 4 * 4])
    if sys.byteorder == "big":
        table.byteswap()
    is_whole = len(table) == frames and start + 22 + 4 * frames + 4 + sum(table) <= end
    seconds = samples / sample_rate if is_whole else 0
    return Sound(
        media_type="audio/x-tta",
        codec="tta",
        duration=seconds,
        bitrate=round((end - start) * 8 / seconds) if seconds else None,
        sample_rate=sample_rate,
        channels=channels,
    )
