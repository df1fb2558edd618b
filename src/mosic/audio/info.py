"""What a probe found in the bytes of an audio file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mosic.wire.chapters import Chapter
from mosic.wire.lrc import Line, Lyrics
from mosic.words import Words


@dataclass(frozen=True, slots=True)
class AudioInfo(Words):
    """Facts about one audio file, and its text tags. None always means «not known».

    Numbers are positive and fit a signed 32-bit column. Texts are clean: no control characters, no lone
    surrogates, no outer white space, never empty. The words are picked from `tags`; several artists or
    genres are joined by commas there, and the date is `2019`, `2019-03` or `2019-03-01` where the tag can be
    read so.
    """

    media_type: str
    """Such as `audio/mpeg`: found in the bytes, fit for the Content-Type of a response."""
    duration: float | None = None
    """Seconds that a player will play; None rather than a number the size of the file contradicts."""
    codec: str | None = None
    """Lower-case short name: `mp3`, `aac`, `flac`, `vorbis`, `opus`, `alac`, `pcm`, …"""
    bitrate: int | None = None
    """Bits per second, on average."""
    sample_rate: int | None = None
    """Hertz."""
    channels: int | None = None
    tags: dict[str, list[str]] = field(default_factory=dict)
    """Every text tag: lower-case name as in Vorbis comments (`albumartist`, `tracknumber`) to its values."""
    chapters: list[Chapter] = field(default_factory=list)
    """In order, at most `carried.MOST_CHAPTERS`; none begins at the end or behind it."""
    lyrics: Lyrics | None = None

    @classmethod
    def of(cls, value: dict[str, Any]) -> AudioInfo:
        """What `dataclasses.asdict` made of one."""
        lyrics = value["lyrics"]
        if lyrics is not None:
            lyrics = Lyrics(**{**lyrics, "lines": [Line(**line) for line in lyrics["lines"]]})
        chapters = [Chapter(**chapter) for chapter in value["chapters"]]
        return cls(**{**value, "chapters": chapters, "lyrics": lyrics})
