"""Creative Voice files (`.voc`): blocks of sound and silence, as the Sound Blaster's programs wrote them."""

from __future__ import annotations

from mosic.audio.source import Sound, Source
from mosic.errors import UnreadableMedia

MAGIC = b"Creative Voice File\x1a"
_END, _SOUND, _MORE, _SILENCE, _EXTENDED, _NEW_SOUND = 0, 1, 2, 3, 8, 9
_MOST_BLOCKS = 30_000
_CODECS = {  # and bits of a sample
    0: ("pcm", 8.0), 1: ("adpcm", 4.0), 2: ("adpcm", 2.6), 3: ("adpcm", 2.0), 4: ("pcm", 16.0),
    6: ("alaw", 8.0), 7: ("mulaw", 8.0), 0x200: ("adpcm", 4.0),
}  # fmt: skip


def read(source: Source, start: int, end: int, *, most_blocks: int = _MOST_BLOCKS) -> Sound:
    """The file whose magic stands at `start`; without a duration when it has more blocks."""
    at = start + int.from_bytes(source.read(start + 20, 2), "little")
    seconds, sound_bytes = 0.0, 0
    rate = channels = first_rate = first_channels = 0
    codec, bits, first_codec = "pcm", 8.0, ""
    extended: tuple[int, int] | None = None
    for _ in range(most_blocks):
        header = source.read(at, 16)
        kind, size = header[:1], int.from_bytes(header[1:4], "little")
        if len(header) < 4 or kind[0] == _END:
            break
        there = max(min(size, end - at - 4), 0)
        if kind[0] == _SOUND and there > 2:
            rate, channels = extended or (1_000_000 // (256 - header[4]), 1)
            codec, bits = _CODECS.get(header[5], ("voc", 8.0))
            extended, there = None, there - 2
        elif kind[0] == _NEW_SOUND and there > 12:
            rate, channels = int.from_bytes(header[4:8], "little"), header[9]
            codec, bits = _CODECS.get(int.from_bytes(header[10:12], "little"), ("voc", 8.0))
            bits, there = bits if codec == "adpcm" else max(header[8], 1), there - 12
        elif kind[0] == _EXTENDED and there >= 4:
            channels = header[7] + 1
            rate = 256_000_000 // (65536 - int.from_bytes(header[4:6], "little")) // channels
            extended = rate, channels
            there = 0
        elif kind[0] == _SILENCE and there >= 3:
            seconds += (int.from_bytes(header[4:6], "little") + 1) * (256 - header[6]) / 1_000_000
            there = 0
        elif kind[0] != _MORE:
            there = 0
        if there and rate and channels:
            first_rate, first_channels = first_rate or rate, first_channels or channels
            first_codec = first_codec or codec
            sound_bytes += there
            seconds += there * 8 / (bits * channels * rate)
        at += 4 + size
    else:
        seconds = 0
    if not first_rate:
        raise UnreadableMedia("The file ends before its audio begins.")
    return Sound(
        media_type="audio/x-voc",
        codec=first_codec,
        duration=seconds,
        bitrate=round(sound_bytes * 8 / seconds) if seconds else None,
        sample_rate=first_rate,
        channels=first_channels,
    )
