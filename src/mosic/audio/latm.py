"""Raw AAC in LOAS/LATM frames (`.loas`, `.latm`), counted. ISO/IEC 14496-3 §1.7."""

from __future__ import annotations

from mosic.audio.frames import WALK_LIMIT, Syntax, scale
from mosic.audio.sampleentry import Bits, aac_core_rate, aac_rate_and_channels
from mosic.audio.source import Readable, Sound
from mosic.errors import UnreadableMedia

_SAMPLES_PER_FRAME = 1024
_HEADER = 3
_LONGEST_CONFIGURATION = 64
_MOST_BEFORE_CONFIGURATION = 1000


def _parse(data: bytes, at: int) -> tuple[int, int] | None:
    length = (data[at + 1] & 0x1F) << 8 | data[at + 2]
    return (0, length + _HEADER) if data[at] == 0x56 and data[at + 1] >= 0xE0 and length > 1 else None


SYNTAX = Syntax(sync=b"\x56", header=_HEADER, parse=_parse)


def read(source: Readable, start: int, end: int, *, limit: int = WALK_LIMIT) -> Sound:
    """Measure the frames in `[start, end)`, the first of which stands at `start`.

    Behind `limit` bytes they are taken to go on as before. Raises UnreadableMedia when no frame says how the
    sound is coded.
    """
    subframes = frame_bytes = frames = 0
    configuration: tuple[int, bytes] | None = None
    for chunk, at, length in SYNTAX.walk(source, start, end, limit):
        if configuration is None and frames < _MOST_BEFORE_CONFIGURATION:
            configuration = _configuration(chunk[at + _HEADER : at + _HEADER + _LONGEST_CONFIGURATION])
        frames += 1
        frame_bytes += length
    core_rate = aac_core_rate(configuration[1]) if configuration else 0
    if configuration is None or not core_rate:
        raise UnreadableMedia("The stream does not describe its audio coding.")
    subframes = frames * configuration[0]
    seconds = subframes * _SAMPLES_PER_FRAME / core_rate
    sample_rate, channels = aac_rate_and_channels(configuration[1])
    return Sound(
        media_type="audio/x-loas",
        codec="aac",
        duration=scale(seconds, start, end, limit),
        bitrate=round(frame_bytes * 8 / seconds) if seconds else None,
        sample_rate=sample_rate,
        channels=channels,
    )


def _configuration(frame: bytes) -> tuple[int, bytes] | None:
    """Subframes, and the AudioSpecificConfig, of a frame that has its own; only of the plain kind."""
    bits = Bits(frame)
    is_same, version, same_timing, subframes, programs, layers = (bits.take(n) for n in (1, 1, 1, 6, 4, 3))
    if is_same or version or not same_timing or programs or layers:
        return None
    rest = int.from_bytes(frame, "big") << 16 & (1 << len(frame) * 8) - 1
    return subframes + 1, rest.to_bytes(len(frame), "big")
