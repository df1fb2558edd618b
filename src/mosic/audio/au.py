"""Sun and NeXT sound files (`.au`, `.snd`): a header, a note, and samples.

https://pubs.opengroup.org/external/auformat.html; DEC's files have the same with the other byte order.
"""

from __future__ import annotations

from mosic.audio.chunks import Order
from mosic.audio.source import Pairs, Sound, Source
from mosic.audio.texts import decode
from mosic.errors import UnreadableMedia

SUN, DEC = b".snd", b"dns."
_UNKNOWN = 0xFFFFFFFF
_LEAST_HEADER = 24
_LONGEST_NOTE = 64 << 10
_ENCODINGS = {  # codec, and bits of a sample
    1: ("mulaw", 8), 2: ("pcm", 8), 3: ("pcm", 16), 4: ("pcm", 24), 5: ("pcm", 32), 6: ("pcm", 32),
    7: ("pcm", 64), 23: ("g726", 4), 24: ("g722", 4), 25: ("g723", 3), 26: ("g723", 5), 27: ("alaw", 8),
}  # fmt: skip


def read(source: Source, start: int, end: int) -> Sound:
    """The file whose magic stands at `start`."""
    header = source.read(start, _LEAST_HEADER)
    order: Order = "little" if header.startswith(DEC) else "big"
    if len(header) < _LEAST_HEADER:
        raise UnreadableMedia("The file ends within its header.")
    offset, size, encoding, sample_rate, channels = (
        int.from_bytes(header[at : at + 4], order) for at in range(4, 24, 4)
    )
    if sample_rate == 0 or channels == 0 or offset < _LEAST_HEADER:
        raise UnreadableMedia("The file states no sample rate or no channels.")
    codec, bits = _ENCODINGS.get(encoding, (f"au-{encoding}", 0))
    there = max(end - start - offset, 0)
    # A recorder that writes to a pipe does not know the size.
    size = there if size in (0, _UNKNOWN) else min(size, there)
    note = source.read(start + _LEAST_HEADER, min(offset - _LEAST_HEADER, _LONGEST_NOTE))
    seconds = size * 8 / (bits * channels) / sample_rate if bits else None
    return Sound(
        media_type="audio/basic",
        codec=codec,
        duration=seconds,
        bitrate=sample_rate * channels * bits,
        sample_rate=sample_rate,
        channels=channels,
        tags=[_tags(decode(note.partition(b"\0")[0]))],
    )


def _tags(note: str) -> Pairs:
    """Lines of names and values, as ffmpeg writes them; any other text is a comment."""
    lines = [line.partition("=") for line in note.splitlines() if line.strip()]
    if lines and all(separator and name.strip().isidentifier() for name, separator, _ in lines):
        return [(name.strip(), value) for name, _, value in lines]
    return [("comment", note)]
