"""MP4 files made by hand, box by box, so that each can lie in its own way."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tests.audio.bombs import box

RATE = 48000
SAMPLE = 960
"""20 ms of Opus."""


def full(name: bytes, *numbers: int, version: int = 0, flags: int = 0, tail: bytes = b"") -> bytes:
    """A box of 32-bit numbers behind version and flags."""
    head = bytes([version]) + flags.to_bytes(3, "big")
    return box(name, head + b"".join(number.to_bytes(4, "big") for number in numbers) + tail)


@dataclass(frozen=True)
class Track:
    """A track of Opus. `announced` is what `mdhd` says; `samples` lie in the index, each of `size` bytes."""

    number: int = 1
    samples: int = 0
    size: int = 100
    timescale: int = RATE
    ticks: int = SAMPLE
    announced: int | None = None
    edits: Sequence[tuple[int, int]] = ()
    handler: bytes = b"soun"
    default_ticks: int = 0
    default_size: int = 0

    def trak(self) -> bytes:
        entry = bytes(6) + b"\0\1" + bytes(8) + struct.pack(">HHHHI", 2, 16, 0, 0, RATE << 16)
        announced = self.samples * self.ticks if self.announced is None else self.announced
        table = box(
            b"stbl",
            full(b"stsd", 1, tail=box(b"Opus", entry))
            + full(b"stts", *((1, self.samples, self.ticks) if self.samples else (0,)))
            + full(b"stsz", self.size if self.samples else 0, self.samples),
        )
        media = box(
            b"mdia",
            full(b"mdhd", 0, 0, self.timescale, announced, 0)
            + full(b"hdlr", 0, tail=self.handler + bytes(13))
            + box(b"minf", table),
        )
        edits = b"".join(struct.pack(">Ii4s", length, begin, b"\0\1\0\0") for length, begin in self.edits)
        listed = box(b"edts", full(b"elst", len(self.edits), tail=edits)) if self.edits else b""
        return box(b"trak", full(b"tkhd", 0, 0, self.number, 0, 0) + listed + media)

    def trex(self) -> bytes:
        return full(b"trex", self.number, 1, self.default_ticks, self.default_size, 0)


def movie(*tracks: Track, timescale: int = 1000, announced: int = 0, more: bytes = b"") -> bytes:
    """`ftyp` and `moov`, and the samples that the index holds."""
    inner = full(b"mvhd", 0, 0, timescale, announced, tail=bytes(80))
    inner += b"".join(track.trak() for track in tracks)
    inner += box(b"mvex", b"".join(track.trex() for track in tracks)) + more
    data = sum(track.samples * track.size for track in tracks)
    return box(b"ftyp", b"isom") + box(b"moov", inner) + (box(b"mdat", bytes(data)) if data else b"")


def fragment(
    samples: int = 25,
    *,
    at: int | None = None,
    ticks: int | None = SAMPLE,
    size: int | None = 100,
    by_default: bool = False,
    track: int = 1,
    data: int | None = None,
    wide: bool = False,
) -> bytes:
    """`moof` and `mdat`. `at` goes into `tfdt`; without `ticks` or `size` the defaults of the movie hold,
    with `by_default` those of `tfhd`, else each sample has its own."""
    flags = 0x020000
    header = [track]
    run = [samples, 0]
    columns: list[int] = []
    for value, default_flag, own_flag in ((ticks, 0x08, 0x100), (size, 0x10, 0x200)):
        if value is not None and by_default:
            flags |= default_flag
            header.append(value)
        elif value is not None:
            columns.append(value)
            run[1] |= own_flag
    time = () if at is None else (at >> 32, at & 0xFFFFFFFF) if wide else (at,)
    own = struct.pack(f">{len(columns)}I", *columns) * samples

    def boxed(offset: int) -> bytes:
        return box(
            b"moof",
            full(b"mfhd", 1)
            + box(
                b"traf",
                full(b"tfhd", *header, flags=flags)
                + (full(b"tfdt", *time, version=int(wide)) if at is not None else b"")
                + full(b"trun", samples, offset, flags=run[1] | 1, tail=own),
            ),
        )

    moof = boxed(len(boxed(0)) + 8)
    return moof + box(b"mdat", bytes(samples * 100 if data is None else data))
