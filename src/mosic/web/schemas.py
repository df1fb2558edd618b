"""The JSON bodies of requests and responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    create_model,
    model_validator,
)

from mosic.audio.gain import replay_gain
from mosic.db.clips import Clip
from mosic.db.days import Day
from mosic.web.urls import Urls
from mosic.wire.owndata import own_data, own_data_from
from mosic.wire.text import clean, clean_line
from mosic.words import MAX_NUMBER, WORDS, Kind


def _no_nul(text: str) -> str:
    # PostgreSQL's text cannot have it.
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
OwnId = Annotated[
    str,
    Field(min_length=1, max_length=200, examples=["track-4711"]),
    AfterValidator(_no_nul),
    AfterValidator(clean_line),
    AfterValidator(_not_empty),
]
Metadata = Annotated[
    dict[str, Any], BeforeValidator(own_data), Field(examples=[{"mood": "calm", "season": 2}])
]
Number = Annotated[int, Field(ge=0, le=MAX_NUMBER)]

# What a field for a word of each kind is declared as.
_TAKEN: dict[Kind, Any] = {
    "line": (Line | None, None),
    "prose": (Prose | None, None),
    "number": (Number | None, None),
}
_SHOWN: dict[Kind, Any] = {"line": (str | None, ...), "prose": (str | None, ...), "number": (int | None, ...)}
_Model = TypeVar("_Model", bound=BaseModel)


def _with_words(kinds: Mapping[Kind, Any], *, title: Any) -> Callable[[type[_Model]], type[_Model]]:
    """Adds a field for each word of a clip behind those of the class itself."""
    words: dict[str, Any] = {word.name: kinds[word.kind] for word in WORDS} | {"title": title}

    def add(model: type[_Model]) -> type[_Model]:
        return create_model(
            model.__name__, __base__=model, __module__=model.__module__, __doc__=model.__doc__, **words
        )

    return add


@_with_words(_SHOWN, title=(str, ...))
class _Named(BaseModel):
    id: UUID


class Loudness(BaseModel):
    """By EBU R 128. A number that is not defined is null: of silence, of less than 400 ms, and the range of
    less than three seconds."""

    integrated_lufs: float | None = Field(description="Of the whole clip.", examples=[-14.21])
    range_lu: float | None = Field(description="Loudness range (EBU Tech 3342).", examples=[6.4])
    true_peak_dbtp: float | None = Field(description="Highest level between samples.", examples=[-0.9])
    replay_gain_db: float | None = Field(
        description="ReplayGain 2.0: what to add to the level (reference -18 LUFS).", examples=[-3.79]
    )


class Silence(BaseModel):
    """Seconds below -60 dBFS. Both are the whole duration when there is nothing else."""

    leading: float = Field(examples=[0.31])
    trailing: float = Field(examples=[1.2])


class ClipOut(_Named):
    """A clip as clients see it."""

    model_config = ConfigDict(title="Clip")

    duration: float | None = Field(description="Seconds; null when it cannot be known.")
    audio_url: str = Field(
        description="URL of the audio; for an external clip the URL with which it was added."
    )
    stream_url: str = Field(description="URL of the audio, always at this service.")
    media_type: str | None = Field(description="Found in the bytes, never taken from the client.")
    codec: str | None
    bitrate: int | None = Field(description="Bits per second.")
    sample_rate: int | None = Field(description="Hertz.")
    channels: int | None
    size: int | None = Field(description="Bytes.")
    sha256: str | None = Field(description="SHA-256 of the bytes, in hex.")
    tags: dict[str, list[str]] = Field(description="Every text tag found, by lower-case name.")
    external_id: str | None = Field(
        description="An app's own key; no two clips have the same.", examples=["track-4711"]
    )
    metadata: dict[str, Any] = Field(
        description="An app's own data.", examples=[{"mood": "calm", "season": 2}]
    )
    complete: bool = Field(
        description="False in a list for a clip whose texts are shortened there, or whose longest tags are "
        "left out: `GET /play/{clip_id}` has everything."
    )
    loudness: Loudness | None = Field(
        description="Null until it is measured, and for a clip in which nothing of it is defined."
    )
    silence: Silence | None = Field(description="Null until it is measured.")
    has_chapters: bool = Field(description="Whether `GET /play/{clip_id}/chapters` has some.")
    has_lyrics: bool = Field(description="Whether `GET /play/{clip_id}/lyrics` has some.")
    play_count: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, clip: Clip, urls: Urls) -> ClipOut:
        stream_url = urls.stream(clip.id)
        return _shown(
            cls,
            clip,
            audio_url=clip.external_url or stream_url,
            stream_url=stream_url,
            sha256=clip.sha256.hex() if clip.sha256 else None,
            loudness=_loudness(clip),
            silence=_silence(clip),
        )


def _loudness(clip: Clip) -> dict[str, float | None] | None:
    found = {name: getattr(clip, name) for name in ("integrated_lufs", "range_lu", "true_peak_dbtp")}
    if all(value is None for value in found.values()):
        return None
    return {**found, "replay_gain_db": replay_gain(clip.integrated_lufs)}


def _silence(clip: Clip) -> dict[str, float | None] | None:
    if clip.leading_silence is None:
        return None
    return {"leading": clip.leading_silence, "trailing": clip.trailing_silence}


class DayOut(BaseModel):
    """The plays of one day (UTC)."""

    model_config = ConfigDict(title="Day", from_attributes=True)

    date: date
    plays: int


class PlayedOut(BaseModel):
    """A clip, and how often it was played in some days."""

    model_config = ConfigDict(title="Played")

    plays: int
    clip: ClipOut


class Stats(BaseModel):
    """How a clip is listened to."""

    song_id: UUID = Field(description="Same as id, for clients of earlier systems.")
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
    daily: list[DayOut] | None = Field(
        None,
        description="Only where `days` are asked for: each of them, today last, those without plays too.",
    )

    @classmethod
    def of(cls, clip: Clip, urls: Urls, daily: Sequence[Day] | None = None) -> Stats:
        audio_url = clip.external_url or urls.stream(clip.id)
        days = None if daily is None else [DayOut.model_validate(day) for day in daily]
        return _shown(cls, clip, song_id=clip.id, audio_url=audio_url, daily=days)


class WorkOut(BaseModel):
    """What is learnt of a clip after its upload."""

    model_config = ConfigDict(title="Work", from_attributes=True)

    kind: str = Field(description="What is learnt.", examples=["waveform"])
    state: Literal["waiting", "running", "done", "failed"] = Field(
        description="`waiting` also between two attempts."
    )
    attempts: int = Field(description="How often it was tried, with the attempt that is under way.")
    code: str | None = Field(
        description="Stable reason why it failed, or why the last attempt did; null when there is none."
    )
    updated_at: datetime = Field(description="When its state changed last.")


def _shown(model: type[_Model], clip: Clip, **others: Any) -> _Model:
    """`others` are the members that a clip does not have, or has in another form."""
    same = {name: getattr(clip, name) for name in model.model_fields if name not in others}
    # Checks in pydantic's core cost less than `model_construct` in Python.
    return model.model_validate(same | others)


@_with_words(_TAKEN, title=(Line | None, None))
class UploadWords(BaseModel):
    """Form fields beside an uploaded file; an empty one counts as not given, as HTML forms send it."""

    external_id: OwnId | None = None
    metadata: Annotated[dict[str, Any], BeforeValidator(own_data_from)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: text for name, text in value.items() if text.strip()}
        return value


@_with_words(_TAKEN, title=(Title, ...))
class ExternalClipIn(BaseModel):
    """A clip whose audio lies elsewhere."""

    # Clients of earlier systems send more than Mosic knows: it is ignored.
    model_config = ConfigDict(extra="ignore", title="ExternalClip")

    audio_url: Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_no_nul)]
    duration: Annotated[float, Field(ge=0, le=10_000_000, allow_inf_nan=False)] | None = None
    external_id: OwnId | None = Field(None, description="An app's own key; no two clips have the same.")
    metadata: Metadata = Field({}, description="An app's own data: at most 16 KiB as JSON.")


@_with_words(_TAKEN, title=(Title | None, None))
class ClipEdit(BaseModel):
    """A JSON merge patch (RFC 7396): null clears a value, what is absent stays."""

    model_config = ConfigDict(extra="forbid")

    external_id: OwnId | None = Field(None, description="An app's own key; no two clips have the same.")
    metadata: Metadata | None = Field(
        None,
        description="Merged with what is there, at every depth; null empties it.",
        examples=[{"mood": "calm"}],
    )

    @model_validator(mode="after")
    def _keep_title(self) -> Self:
        if self.changes().get("title", "") is None:
            raise ValueError("title cannot be cleared")
        return self

    def changes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}
