"""The words of a clip: what people, and the tags of its file, say about it. This is the one list of them.

Form fields, JSON bodies, Upload-Metadata, the OpenAPI document, columns, the rules for backups and the
options of `mosic edit` derive from it. A new word is one line here, and a migration that adds its column.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

MAX_NUMBER = 2**31 - 1
"""What a column of type integer holds."""

Kind = Literal["line", "prose", "number"]
FromTags = Literal["first", "all", "date", "number"]


@dataclass(frozen=True, slots=True)
class Word:
    """`kind`: one line of text, text of several lines, or a whole number from 0. `from_tags`: how it is read
    from the tags of a file: the first value, all values joined by commas, a date or a number; None: never."""

    name: str
    kind: Kind
    from_tags: FromTags | None
    help: str | None
    is_name: bool
    """Whether lists are sorted by it, and filtered by what equals it."""

    @property
    def tag(self) -> str:
        """Its name in Vorbis comments, to which the tags of all formats are mapped."""
        return self.name.replace("_", "")


def _word(kind: Kind, from_tags: FromTags | None, help_: str | None = None, *, is_name: bool = False) -> Any:
    said = {"kind": kind, "from_tags": from_tags, "help": help_, "is_name": is_name}
    return field(default=None, metadata=said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Texts are clean (`mosic.wire.text`) and not empty; None means «not said»."""

    title: str | None = _word("line", "first", is_name=True)
    description: str | None = _word("prose", None)
    artist: str | None = _word("line", "all", is_name=True)
    album: str | None = _word("line", "first", is_name=True)
    album_artist: str | None = _word("line", "all")
    genre: str | None = _word("line", "all", is_name=True)
    date: str | None = _word("line", "date", "Such as 2019, or 2019-05-01.")
    track_number: int | None = _word("number", "number")
    disc_number: int | None = _word("number", "number")


WORDS = tuple(Word(name=one.name, **one.metadata) for one in fields(Words))
NAMES = tuple(word.name for word in WORDS if word.is_name)
TEXTS = tuple(word.name for word in WORDS if word.kind != "number")
NUMBERS = tuple(word.name for word in WORDS if word.kind == "number")
