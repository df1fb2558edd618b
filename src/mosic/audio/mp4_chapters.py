"""Chapters of MP4 files: a list in the user data as Nero began it (`chpl`), and a track of texts to which the
track of sound refers ("QuickTime File Format", Chapter Lists)."""

from __future__ import annotations

from collections.abc import Iterator

from mosic.audio.boxes import Box, boxes, child, number, payload, words
from mosic.audio.carried import MOST_CHAPTERS
from mosic.audio.source import FewLooks, Readable
from mosic.audio.texts import UTF_16_MARKS, decode
from mosic.wire.chapters import Chapter

_MOST_LOOKS = 10_000
_LARGEST = 256 << 10
_TICKS = 10_000_000
_LONGEST = 2048


def read(source: Readable, moov: Box) -> list[Chapter]:
    """Those of the track, which is not bound to 255 chapters with short titles; else the list."""
    looks = FewLooks(source, _MOST_LOOKS)
    return list(_of_track(looks, moov)) or list(
        _listed(payload(looks, child(looks, moov, b"udta", b"chpl"), _LARGEST))
    )


def _listed(data: bytes) -> Iterator[Chapter]:
    at = 9
    for _ in range(number(data, 8, 1)):
        head = data[at : at + 9]
        if len(head) < 9:
            break
        yield Chapter(number(head, 0, 8) / _TICKS, None, decode(data[at + 9 : at + 9 + head[8]]))
        at += 9 + head[8]


def _of_track(source: Readable, moov: Box) -> Iterator[Chapter]:
    tracks = [box for box in boxes(source, moov.start, moov.end) if box.name == b"trak"]
    wanted = {
        one for trak in tracks for one in words(payload(source, child(source, trak, b"tref", b"chap"), 64))
    }
    for trak in tracks if wanted else ():
        header = payload(source, child(source, trak, b"tkhd"), 32)
        media = child(source, trak, b"mdia")
        kind = payload(source, child(source, media, b"hdlr"), 12)[8:12]
        if number(header, 20 if header[:1] == b"\x01" else 12) in wanted and kind in (b"text", b"sbtl"):
            yield from _samples(source, media)
            return


def _samples(source: Readable, media: Box | None) -> Iterator[Chapter]:
    header = payload(source, child(source, media, b"mdhd"), 32)
    timescale = number(header, 20 if header[:1] == b"\x01" else 12)
    table = child(source, media, b"minf", b"stbl")
    if not timescale or table is None:
        return
    at = 0
    for (offset, size), ticks in zip(_places(source, table), _durations(source, table), strict=False):
        raw = source.read(offset, min(size, _LONGEST))
        text = raw[2 : 2 + number(raw, 0, 2)]
        title = text.decode("utf-16", "replace") if text[:2] in UTF_16_MARKS else decode(text)
        yield Chapter(at / timescale, (at + ticks) / timescale, title)
        at += ticks


def _durations(source: Readable, table: Box) -> Iterator[int]:
    data = payload(source, child(source, table, b"stts"), _LARGEST)
    listed = words(data[8 : 8 + 8 * number(data, 4)])
    left = MOST_CHAPTERS
    for count, each in zip(listed[::2], listed[1::2], strict=False):
        yield from (each for _ in range(min(count, left)))
        left -= min(count, left)


def _places(source: Readable, table: Box) -> Iterator[tuple[int, int]]:
    """Offset and size of each sample (ISO/IEC 14496-12 §8.7)."""
    data = payload(source, child(source, table, b"stsz"), _LARGEST)
    each, count = number(data, 4), min(number(data, 8), MOST_CHAPTERS)
    sizes = iter([each] * count if each else words(data[12 : 12 + 4 * count]))
    data = payload(source, child(source, table, b"stsc"), _LARGEST)
    runs = words(data[8 : 8 + 12 * number(data, 4)])
    following = [*runs[3::3], 1 << 32]
    wide = child(source, table, b"co64")
    data = payload(source, wide or child(source, table, b"stco"), _LARGEST)
    width = 8 if wide else 4
    run = 0
    for index in range(min(number(data, 4), (len(data) - 8) // width, MOST_CHAPTERS)):
        while run + 1 < len(following) and following[run] <= index + 1:
            run += 1
        at = number(data, 8 + width * index, width)
        in_chunk = runs[3 * run + 1] if 3 * run + 1 < len(runs) else 0
        for _ in range(min(in_chunk, MOST_CHAPTERS)):
            size = next(sizes, None)
            if size is None:
                return
            yield at, size
            at += size
