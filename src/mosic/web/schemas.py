"""What goes over the wire as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from mosic.db.clips import Clip
from mosic.web.urls import Urls
from mosic.wire.text import clean, clean_line

_INT32 = 2**31 - 1


def _no_nul(text: str) -> str:
    # PostgreSQL's text cannot hold it, and nobody means it.
    if "\x00" in text:
        raise ValueError("must not contain NUL characters")
    return text


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError("must contain a visible character")
    return text


Line = Annotated[str, Field(max_length=1000), AfterValidator(_no_nul), AfterValidator(clean_line)]
Title = Annotated[
    str,
    Field(min_length=1, max_length=1000, pattern=r"\S"),
    AfterValidator(_no_nul),
    AfterValidator(clean_line),
    AfterValidator(_not_empty),
]
Prose = Annotated[str, Field(max_length=20_000), AfterValidator(_no_nul), AfterValidator(clean)]
Number = Annotated[int, Field(ge=0, le=_INT32)]


class ClipOut(BaseModel):
    """A clip as clients see it."""

    model_config = ConfigDict(title="Clip")

    id: UUID
    title: str
    description: str | None
    artist: str | None
    album: str | None
    album_artist: str | None
    genre: str | None
    date: str | None
    track_number: int | None
    disc_number: int | None
    duration: float | None = Field(description="Seconds; null when it cannot be known.")
    audio_url: str = Field(
        description="Where the audio is; for an external clip the address it was added with."
    )
    stream_url: str = Field(description="The audio, always from this service.")
    media_type: str | None = Field(description="Found in the bytes, never the client's word.")
    codec: str | None
    bitrate: int | None = Field(description="Bits a second.")
    sample_rate: int | None = Field(description="Hertz.")
    channels: int | None
    size: int | None = Field(description="Bytes.")
    sha256: str | None = Field(description="Of the bytes, in hex.")
    tags: dict[str, list[str]] = Field(description="Every text tag found, by lower-case name.")
    complete: bool = Field(
        description="False in a list for a clip whose texts are cut there, or whose longest tags are left "
        "out: `GET /play/{clip_id}` has all."
    )
    play_count: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, clip: Clip, urls: Urls) -> ClipOut:
        stream_url = urls.stream(clip.id)
        # Everything here was checked when it came in; checking again would double the cost of a page.
        return cls.model_construct(
            id=clip.id,
            title=clip.title,
            description=clip.description,
            artist=clip.artist,
            album=clip.album,
            album_artist=clip.album_artist,
            genre=clip.genre,
            date=clip.date,
            track_number=clip.track_number,
            disc_number=clip.disc_number,
            duration=clip.duration,
            audio_url=clip.external_url or stream_url,
            stream_url=stream_url,
            media_type=clip.media_type,
            codec=clip.codec,
            bitrate=clip.bitrate,
            sample_rate=clip.sample_rate,
            channels=clip.channels,
            size=clip.size,
            sha256=clip.sha256.hex() if clip.sha256 else None,
            tags=clip.tags,
            complete=clip.complete,
            play_count=clip.play_count,
            created_at=clip.created_at,
            updated_at=clip.updated_at,
        )


class Stats(BaseModel):
    """How a clip is listened to."""

    song_id: UUID = Field(description="The same as id, for clients of earlier systems.")
    id: UUID
    title: str
    description: str | None
    artist: str | None
    genre: str | None
    duration: float | None
    audio_url: str
    play_count: int
    last_played_at: datetime | None
    bytes_streamed: int
    created_at: datetime

    @classmethod
    def of(cls, clip: Clip, urls: Urls) -> Stats:
        return cls.model_construct(
            song_id=clip.id,
            id=clip.id,
            title=clip.title,
            description=clip.description,
            artist=clip.artist,
            genre=clip.genre,
            duration=clip.duration,
            audio_url=clip.external_url or urls.stream(clip.id),
            play_count=clip.play_count,
            last_played_at=clip.last_played_at,
            bytes_streamed=clip.bytes_streamed,
            created_at=clip.created_at,
        )


class _Words(BaseModel):
    """What people may say about a clip."""

    model_config = ConfigDict(extra="forbid")

    description: Prose | None = None
    artist: Line | None = None
    album: Line | None = None
    album_artist: Line | None = None
    genre: Line | None = None
    date: Line | None = None
    track_number: Number | None = None
    disc_number: Number | None = None


class UploadWords(_Words):
    """Form fields beside an uploaded file; an empty one counts as not given, as HTML forms send it."""

    model_config = ConfigDict(extra="ignore")

    title: Line | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: text for name, text in value.items() if text.strip()}
        return value


class ExternalClipIn(_Words):
    """A clip whose audio lies elsewhere."""

    # Clients of earlier systems send more than Mosic knows: it is passed over.
    model_config = ConfigDict(extra="ignore", title="ExternalClip")

    title: Title
    audio_url: Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_no_nul)]
    duration: Annotated[float, Field(ge=0, le=10_000_000, allow_inf_nan=False)] | None = None


class ClipEdit(_Words):
    """A JSON merge patch (RFC 7396): null clears a value, what is absent stays."""

    title: Title | None = None

    @model_validator(mode="after")
    def _keep_title(self) -> Self:
        if "title" in self.model_fields_set and self.title is None:
            raise ValueError("title cannot be cleared")
        return self

    def changes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}


class Problem(BaseModel):
    """RFC 9457 problem details; `code` is stable."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[dict[str, Any]] | None = Field(None, description="Validation errors: loc and msg of each.")
