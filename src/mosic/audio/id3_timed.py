"""Frames of ID3v2 with times: chapters (https://id3.org/id3v2-chapters-1.0), and lyrics, synchronised or not
(https://id3.org/id3v2.4.0-frames §4.8, §4.9).

CTOC, the table of contents, is not followed: chapters are ordered by their times, which is its order wherever
it makes sense, and its nesting would have to be flattened anyway.
"""

from __future__ import annotations

from mosic.audio.carried import Carried
from mosic.audio.id3texts import reformed, text_end
from mosic.audio.texts import decode, decode_utf_16
from mosic.wire.chapters import Chapter
from mosic.wire.lrc import MOST_LINES, Line, Lyrics, parse_lrc

NAMES = (b"CHAP", b"SYLT", b"SLT")
MOST_READ = 256 << 10
"""Bytes of one frame: a chapter may have a picture, mostly behind its title."""

_UNKNOWN = 0xFFFFFFFF
_MILLISECONDS = 2
_LATIN_1, _UTF_16, _UTF_16_BE, _UTF_8 = range(4)


class TimedFrames:
    """What the frames of one tag say, one after the other."""

    def __init__(self, version: int) -> None:
        self._version = version
        self._chapters: list[Chapter] = []
        self._lyrics: list[Lyrics] = []
        # With times in frames of MPEG audio.
        self._in_frames: list[Lyrics] = []

    def add(self, name: bytes, content: bytes) -> None:
        """A frame of `NAMES`, or USLT (ULT) as `reformed`; what is damaged is left out."""
        if name == b"CHAP":
            self._add_chapter(content)
        elif name in (b"SYLT", b"SLT"):
            self._add_lyrics(content)
        elif name in (b"USLT", b"ULT"):
            text = content[4:].decode("utf-8", "replace").partition("\0")[2]
            found = parse_lrc(text[: 64 << 10])
            language = found.language or content[1:4].decode("ascii", "replace")
            self._lyrics.append(Lyrics(language, found.synced, found.lines))

    def found(self, frame_seconds: float | None) -> Carried:
        """`frame_seconds`: how long a frame of MPEG audio lasts, if the file is such."""
        scaled = [
            Lyrics(
                one.language,
                True,
                [Line((line.start or 0.0) * frame_seconds, line.text) for line in one.lines],
            )
            for one in self._in_frames
            if frame_seconds
        ]
        return Carried(self._chapters, [*self._lyrics, *scaled])

    def _add_chapter(self, content: bytes) -> None:
        at = content.find(b"\0") + 1
        times = content[at : at + 16]
        if not at or len(times) < 16:
            return
        start, end = int.from_bytes(times[:4], "big"), int.from_bytes(times[4:8], "big")
        if start == _UNKNOWN:
            return
        title = self._title(content[at + 16 :])
        self._chapters.append(Chapter(start / 1000, None if end == _UNKNOWN else end / 1000, title))

    def _title(self, frames: bytes) -> str:
        at = 0
        for _ in range(16):
            header = frames[at : at + 10]
            if len(header) < 10:
                break
            size = int.from_bytes(header[4:8], "big")
            if self._version == 4 and max(header[4:8]) < 0x80:
                size = header[4] << 21 | header[5] << 14 | header[6] << 7 | header[7]
            if header[:4] == b"TIT2" and size < 8192:
                text = reformed(b"TIT2", frames[at + 10 : at + 10 + size])
                return text[1:].decode("utf-8", "replace").partition("\0")[0]
            at += 10 + size
        return ""

    def _add_lyrics(self, content: bytes) -> None:
        if len(content) < 7:
            return
        encoding, unit = content[0], content[4]
        at = 6 + text_end(content[6:], encoding)
        language = content[1:4].decode("ascii", "replace")
        lines: list[Line] = []
        said = content[6:8] if content[6:8] in (b"\xff\xfe", b"\xfe\xff") else b""
        window = 4096
        while at < len(content) and len(lines) < 2 * MOST_LINES:
            # A stretch, so that a text without an end costs no more than its length.
            raw = content[at : at + window]
            end = text_end(raw, encoding)
            text, time = raw[:end], content[at + end : at + end + 4]
            if len(time) < 4:
                break
            lines.append(Line(float(int.from_bytes(time, "big")), _decoded(text, encoding, said)))
            at += end + 4
        if unit == _MILLISECONDS:
            timed = [Line((line.start or 0.0) / 1000, line.text) for line in lines]
            self._lyrics.append(Lyrics(language, True, _joined(timed)))
        elif unit == 1:
            self._in_frames.append(Lyrics(language, True, _joined(lines)))


def _decoded(raw: bytes, encoding: int, said: bytes) -> str:
    if encoding in (_UTF_16, _UTF_16_BE):
        marked = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
        text = decode_utf_16(raw if marked or encoding == _UTF_16_BE else said + raw, said_big=encoding == 2)
    else:
        text = decode(raw)
    return text.rstrip("\0")


def _joined(pieces: list[Line]) -> list[Line]:
    """Lines, of pieces that may be syllables: then a line feed begins each line (§4.9)."""
    if not any(piece.text.startswith(("\n", "\r")) for piece in pieces):
        return pieces
    lines: list[Line] = []
    parts: list[str] = []
    for piece in pieces:
        if not lines or piece.text.startswith(("\n", "\r")):
            if lines:
                lines[-1] = Line(lines[-1].start, "".join(parts))
            lines.append(piece)
            parts = []
        parts.append(piece.text)
    lines[-1] = Line(lines[-1].start, "".join(parts))
    return lines
