"""Ogg (RFC 3533) with Vorbis, Opus (RFC 7845), Speex or FLAC: alone, beside other streams, or chained.

All page headers are walked: the last page alone misleads where streams are chained or multiplexed, where a
recording begins in the middle of a broadcast, and where the end is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from mosic.audio.flac import parse_stream_info
from mosic.audio.source import Forward, Pairs, Sound, Source, most_units
from mosic.audio.vorbis import read_comments
from mosic.errors import UnreadableMedia, UnsupportedMedia

# A file may consist of page headers only.
_MOST_PAGES = 200_000
_MOST_PAGES_OF_A_PACKET = 4096
_TAIL = 256 * 1024
_LONGEST_GAP = 1 << 20


@dataclass(frozen=True, slots=True)
class _OggPage:
    """A page header (RFC 3533 §6) and where its data lies."""

    first: bool
    granule: int
    serial: int
    lacing: bytes
    offset: int
    end: int


@dataclass(slots=True)
class _LogicalStream:
    """One logical stream of sound. `prefix` is how its second packet, the comments, begins."""

    codec: str
    prefix: bytes
    sample_rate: int
    channels: int
    serial: int
    pre_skip: int = 0
    granules: list[int] = field(default_factory=list)
    """The first two positions at which sound ends, and the last."""

    def note(self, granule: int) -> None:
        if len(self.granules) == 3:
            self.granules.pop()
        self.granules.append(granule)

    @property
    def seconds(self) -> float:
        if not self.granules:
            return 0
        began, ended = 0, self.granules[-1]
        # A recorded broadcast keeps its positions. No page holds five seconds, unless of silence.
        if len(self.granules) == 3 and self.granules[0] > 5 * self.sample_rate:
            began = 2 * self.granules[0] - self.granules[1]
        return max(ended - began - self.pre_skip, 0) / self.sample_rate


def read(source: Source, start: int, end: int, *, most_pages: int = _MOST_PAGES) -> Sound:
    """The Ogg file whose first page stands at `start`; of several streams of sound the first.

    Behind so many pages only the last ones are looked at. Where these are of another stream, the duration is
    an estimate.
    """
    links: list[_LogicalStream] = []
    comments: Pairs | None = None
    audio_bytes = walked = 0
    serials: set[int] = set()
    most_pages = most_units(end - start, most_pages)
    for page in islice(_pages(source, start, end), most_pages):
        walked = page.end
        serials.add(page.serial)
        most_pages -= 1
        if page.first:
            # Streams that begin together play together; one that begins after sound continues from there.
            if not links or links[-1].granules:
                stream = _identify(source.read(page.offset, min(page.end - page.offset, 64)), page.serial)
                links += [stream] if stream else []
        elif links and page.serial == links[-1].serial:
            if comments is None:
                packet = Forward(source, _packet(source, page, end))
                # In FLAC the highest bit says that no other header follows.
                matches = packet.read(len(links[0].prefix)) in (links[0].prefix, b"\x84")
                packet.skip(3 if links[0].codec == "flac" else 0)
                comments = read_comments(packet) if matches else []
            if 0 < page.granule < 1 << 63:
                links[-1].note(page.granule)
            if links[-1].granules:
                audio_bytes += page.end - page.offset
    if not links:
        raise UnsupportedMedia("This Ogg file holds no audio of a known format.")
    if comments is None:
        raise UnreadableMedia("The file ends before its audio begins.")
    is_capped = not most_pages
    is_ended = walked == end or _end(source, max(walked, end - _TAIL), end, links[-1], serials)
    # After damage there may be no Ogg at all.
    grown = (end - start) / (walked - start) if is_capped or is_ended else 1
    seconds = sum(link.seconds for link in links) * (grown if is_capped and not is_ended else 1)
    audio_bytes = round(audio_bytes * grown)
    return Sound(
        media_type="audio/ogg",
        codec=links[0].codec,
        duration=seconds,
        bitrate=round(audio_bytes * 8 / seconds) if seconds else None,
        sample_rate=links[0].sample_rate,
        channels=links[0].channels,
        tags=[comments],
    )


def _end(source: Source, start: int, end: int, link: _LogicalStream, serials: set[int]) -> bool:
    """Note the last positions of the stream; False when there are none, or those of a later stream."""
    last = 0
    for page in _pages(source, start, end):
        if page.serial not in serials:
            return False
        if page.serial == link.serial and 0 < page.granule < 1 << 63:
            last = page.granule
    if not last:
        return False
    link.note(last)
    return True


def _identify(packet: bytes, serial: int) -> _LogicalStream | None:
    def number(at: int, size: int) -> int:
        return int.from_bytes(packet[at : at + size], "little")

    stream = None
    if packet.startswith(b"\x01vorbis"):
        stream = _LogicalStream("vorbis", b"\x03vorbis", number(12, 4), number(11, 1), serial)
    elif packet.startswith(b"OpusHead"):
        stream = _LogicalStream("opus", b"OpusTags", 48000, number(9, 1), serial, pre_skip=number(10, 2))
    elif packet.startswith(b"Speex   "):
        stream = _LogicalStream("speex", b"", number(36, 4), number(48, 4), serial)
    elif packet.startswith(b"\x7fFLAC"):
        info = parse_stream_info(packet[17:])
        stream = _LogicalStream("flac", b"\x04", info.sample_rate, info.channels, serial)
    return stream if stream and stream.sample_rate and stream.channels else None


def _packet(source: Source, page: _OggPage, end: int) -> Iterator[tuple[int, int]]:
    """Where the packet lies that begins with `page`, which may go on over many pages of its stream."""
    pages = _pages(source, page.offset - 27 - len(page.lacing), end)
    for following in islice(pages, _MOST_PAGES_OF_A_PACKET):
        if following.serial == page.serial:
            length = 0
            for value in following.lacing:
                length += value
                if value < 255:
                    break
            yield following.offset, following.offset + length
            if any(value < 255 for value in following.lacing):
                return


def _pages(source: Source, start: int, end: int) -> Iterator[_OggPage]:
    at = start
    while (found := _find_page(source, at, end)) is not None:
        header = source.read(found, 27 + 255)
        if len(header) < 27 or len(header) < 27 + header[26]:
            return
        lacing = header[27 : 27 + header[26]]
        offset = found + 27 + len(lacing)
        at = offset + sum(lacing)
        if at > end:
            return
        serial = int.from_bytes(header[14:18], "little")
        yield _OggPage(
            bool(header[5] & 2), int.from_bytes(header[6:14], "little"), serial, lacing, offset, at
        )


def _find_page(source: Source, at: int, end: int) -> int | None:
    """Offset of the next page header from `at` on, over damaged or foreign bytes, but not over too many."""
    if source.read(at, 4) == b"OggS":
        return at
    for offset in range(at, min(at + _LONGEST_GAP, end), _LONGEST_GAP // 16):
        found = source.read(offset, _LONGEST_GAP // 16 + 3).find(b"OggS")
        if found >= 0:
            return offset + found
    return None
