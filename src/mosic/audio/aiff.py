"""AIFF and AIFF-C, with their sound and their tags (Apple, 1991)."""

from __future__ import annotations

import struct

from mosic.audio.chunks import LONGEST_TEXT, MOST_CHUNKS, Chunk, chunks, text_of
from mosic.audio.source import Pairs, Sound, Source
from mosic.audio.tagblocks import read_id3
from mosic.audio.texts import decode
from mosic.errors import UnreadableMedia

_CODECS = {
    b"NONE": "pcm", b"sowt": "pcm", b"twos": "pcm", b"raw ": "pcm", b"in24": "pcm", b"in32": "pcm",
    b"fl32": "pcm", b"FL32": "pcm", b"fl64": "pcm", b"FL64": "pcm", b"ulaw": "mulaw",
    b"ULAW": "mulaw", b"alaw": "alaw", b"ALAW": "alaw", b"ima4": "adpcm", b"GSM ": "gsm",
}  # fmt: skip
_NAMES = {b"NAME": "title", b"AUTH": "artist", b"(c) ": "copyright", b"ANNO": "comment"}


def read(source: Source, start: int, end: int, *, most_chunks: int = MOST_CHUNKS) -> Sound:
    """The AIFF or AIFF-C file whose FORM header stands at `start`.

    What lies behind so many chunks is not looked at: without its sound a file has no duration.
    """
    common = b""
    sound: Chunk | None = None
    pairs: Pairs = []
    tags: list[Pairs | bytes] = []
    for chunk in chunks(source, start + 12, end, "big", most=most_chunks):
        if chunk.name == b"COMM":
            common = common or source.read(chunk.start, min(chunk.size, 64))
        elif chunk.name == b"SSND":
            sound = sound or chunk
        elif chunk.name in (b"ID3 ", b"id3 "):
            tags += read_id3(source, chunk.start)
        elif name := _NAMES.get(chunk.name):
            pairs.append((name, decode(text_of(source, chunk), cut=chunk.size > LONGEST_TEXT)))
    if len(common) < 18:
        raise UnreadableMedia("The AIFF file does not describe its audio: the chunk 'COMM' is missing.")
    channels, frames, bits, exponent, mantissa = struct.unpack(">HIHHQ", common[:18])
    # An 80-bit extended float; no recorder's rate has an exponent outside these.
    exponent -= 16383
    sample_rate = mantissa / (1 << (63 - exponent)) if 0 <= exponent < 31 else 0
    if sample_rate < 1 or channels == 0:
        raise UnreadableMedia("The AIFF file states no sample rate or no channels.")
    codec = _CODECS.get(common[18:22], "") if len(common) >= 22 else "pcm"
    there = max(sound.size - 8, 0) if sound else 0
    if codec == "pcm":
        whole = there // (channels * max((bits + 7) // 8, 1))
        # A recorder that was interrupted has not written the number of frames.
        frames = min(frames or whole, whole)
    elif common[18:22] == b"ima4":
        frames = there // (34 * channels) * 64
    seconds = frames / sample_rate
    return Sound(
        media_type="audio/aiff",
        codec=codec or "aiff",
        duration=seconds,
        bitrate=round(there * 8 / seconds) if seconds else None,
        sample_rate=round(sample_rate),
        channels=channels,
        tags=[*tags, pairs],
    )
