"""The JSON bodies of chapters and lyrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from mosic.wire.chapters import Chapter


class ChapterOut(BaseModel):
    """A chapter."""

    model_config = ConfigDict(title="Chapter")

    startTime: float = Field(description="Seconds.", examples=[0])
    endTime: float | None = Field(
        None, description="Seconds; absent where the file does not say it.", examples=[61.5]
    )
    title: str = Field(examples=["Prologue"])


class ChaptersOut(BaseModel):
    """Chapters in the form of Podcasting 2.0."""

    model_config = ConfigDict(title="ChapterList")

    version: Literal["1.2.0"] = Field(description="Of the format.")
    chapters: list[ChapterOut]

    @classmethod
    def of(cls, chapters: Sequence[Chapter]) -> ChaptersOut:
        shown = [ChapterOut(startTime=one.start, endTime=one.end, title=one.title) for one in chapters]
        return cls(version="1.2.0", chapters=shown)


class LineOut(BaseModel):
    """A line of lyrics."""

    model_config = ConfigDict(title="Line", from_attributes=True)

    start: float | None = Field(description="Seconds; null where the lyrics have no times.", examples=[12.5])
    text: str = Field(description="May be empty: a pause.", examples=["Row, row, row your boat"])


class LyricsOut(BaseModel):
    """Lyrics, with times or without."""

    model_config = ConfigDict(title="Lyrics", from_attributes=True)

    language: str | None = Field(description="As the file says it (ISO 639).", examples=["eng"])
    synced: bool = Field(description="Whether the lines have times.", examples=[True])
    lines: list[LineOut]
