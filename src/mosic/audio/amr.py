"""AMR and AMR-WB (`.amr`, `.awb`; RFC 4867 §5): frames of 20 ms, whose first byte tells their size."""

from __future__ import annotations

from mosic.audio.source import Sound, Source
from mosic.errors import UnreadableMedia

NARROW, WIDE = b"#!AMR\n", b"#!AMR-WB\n"
# Bytes after the first, by frame type; None for types that no frame has (3GPP TS 26.101 and 26.201).
_NARROW_SIZES = (12, 13, 15, 17, 19, 20, 26, 31, 5, 6, 5, 5, None, None, None, 0)
_WIDE_SIZES = (17, 23, 32, 36, 40, 46, 50, 58, 60, 5, None, None, None, None, 0, 0)
_FRAMES_PER_SECOND = 50
_CHUNK = 1 << 20
_MOST_FRAMES = 500_000
_LONGEST_FRAME = 61
_NOT_IN_A_HEADER = 0x83


def read(source: Source, start: int, end: int, *, most_frames: int = _MOST_FRAMES) -> Sound:
    """The file whose magic stands at `start`, as far as its frames go.

    Behind so many of them the rest is taken to be like what comes before.
    """
    is_wide = source.read(start, len(WIDE)) == WIDE
    sizes = _WIDE_SIZES if is_wide else _NARROW_SIZES
    begin = start + len(WIDE if is_wide else NARROW)
    lengths = [
        None if header & _NOT_IN_A_HEADER or (size := sizes[header >> 3 & 15]) is None else 1 + size
        for header in range(256)
    ]
    frames, offset = 0, begin
    is_sound = True
    while is_sound and offset < end and frames < most_frames:
        chunk = source.read(offset, min(_CHUNK, end - offset))
        at, last = 0, len(chunk) if offset + len(chunk) == end else len(chunk) - _LONGEST_FRAME
        while at < last and frames < most_frames:
            length = lengths[chunk[at]]
            if length is None or at + length > len(chunk):
                is_sound = False
                break
            at += length
            frames += 1
        offset += at
        is_sound = is_sound and bool(chunk)
    if not frames:
        raise UnreadableMedia("The file ends before its audio begins.")
    seconds = frames / _FRAMES_PER_SECOND
    bitrate = round((offset - begin) * 8 / seconds)
    if frames == most_frames:
        seconds = seconds * (end - begin) / (offset - begin)
    return Sound(
        media_type="audio/amr-wb" if is_wide else "audio/amr",
        codec="amr-wb" if is_wide else "amr",
        duration=seconds,
        bitrate=bitrate,
        sample_rate=16000 if is_wide else 8000,
        channels=1,
    )
