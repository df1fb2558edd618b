"""Which clips a list is about, and the SQL conditions for that."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from mosic.db.indexed import key_of
from mosic.db.tables import blobs, clips
from mosic.wire.folding import MAX_WORDS, fold, search_words

Condition = sa.ColumnElement[bool]


@dataclass(frozen=True, kw_only=True)
class Filters:
    """A clip is meant when it fits all that is given; None: not given.

    `q`: each of its words is part of some text of the clip (`mosic.db.indexed`), as folded text. `artist`,
    `album`, `genre`: equal as folded text. `metadata`: names, and values as text or as JSON (`true`, `2019`).
    `created_after` and `created_before` are not included in what they bound, `duration_min` and
    `duration_max` are.
    """

    q: str | None = None
    artist: str | None = None
    album: str | None = None
    genre: str | None = None
    media_type: str | None = None
    sha256: bytes | None = None
    external_id: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None
    duration_min: float | None = None
    duration_max: float | None = None
    trashed: bool = False

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Of `q`; at most `MAX_WORDS` are looked for."""
        return tuple(search_words(self.q)[: MAX_WORDS + 1]) if self.q else ()

    @cached_property
    def phrase(self) -> str:
        """`q`, folded: names that begin with it come first."""
        return fold(self.q) if self.q else ""

    @property
    def are_given(self) -> bool:
        """Whether any but `trashed` is."""
        return any(getattr(self, one.name) not in (None, ()) for one in fields(self) if one.name != "trashed")

    @property
    def shape(self) -> tuple[str, ...]:
        """Equal for those that have the same conditions with other values."""
        given = [one.name for one in fields(self) if getattr(self, one.name) not in (None, False, ())]
        return (*given, f"{len(self.words)} {len(self.metadata)}")

    @property
    def fingerprint(self) -> str:
        """Differs for those that mean other clips."""
        said = repr([getattr(self, one.name) for one in fields(self)])
        return hashlib.blake2s(said.encode(errors="surrogatepass"), digest_size=8).hexdigest()

    def values(self) -> dict[str, Any]:
        """Of the parameters that `conditions` has."""
        words = {f"word_{number}": _like(word) for number, word in enumerate(self.words)}
        others = (
            *("media_type", "sha256", "external_id"),
            *("created_after", "created_before", "duration_min", "duration_max"),
        )
        data: dict[str, Any] = {}
        for number, (name, value) in enumerate(self.metadata):
            as_text, as_json = {name: value}, {name: _scalar(value)}
            data |= {f"text_{number}": as_text, f"json_{number}": as_json}
        keys = {name: _key(getattr(self, name)) for name in ("artist", "album", "genre")}
        return {**words, **keys, **data, **{name: getattr(self, name) for name in others}}

    def conditions(self) -> Iterator[Condition]:
        """On the table `clips` alone; `values` has their parameters."""
        yield clips.c.deleted_at.is_not(None) if self.trashed else clips.c.deleted_at.is_(None)
        for number in range(len(self.words)):
            yield clips.c.index_document.like(sa.bindparam(f"word_{number}"))
        for name in ("artist", "album", "genre"):
            if getattr(self, name) is not None:
                yield clips.c[f"index_{name}"] == sa.bindparam(name)
        if self.media_type is not None:
            yield clips.c.index_type == sa.bindparam("media_type")
        if self.sha256 is not None:
            with_bytes = sa.select(blobs.c.key).where(blobs.c.sha256 == sa.bindparam("sha256"))
            yield clips.c.blob_key == with_bytes.scalar_subquery()
        if self.external_id is not None:
            yield clips.c.external_id == sa.bindparam("external_id")
        for number in range(len(self.metadata)):
            yield sa.or_(
                *(
                    clips.c.metadata.contains(sa.bindparam(f"{kind}_{number}", type_=JSONB))
                    for kind in ("text", "json")
                )
            )
        if self.created_after is not None:
            yield clips.c.created_at > sa.bindparam("created_after")
        if self.created_before is not None:
            yield clips.c.created_at < sa.bindparam("created_before")
        if self.duration_min is not None:
            yield clips.c.duration >= sa.bindparam("duration_min")
        if self.duration_max is not None:
            yield clips.c.duration <= sa.bindparam("duration_max")


EVERYTHING = Filters()
"""Every clip in the catalogue."""


def like_start(text: str) -> str:
    """The pattern of what begins with the text."""
    return "".join(f"\\{sign}" if sign in "%_\\" else sign for sign in text) + "%"


def _like(text: str) -> str:
    return f"%{like_start(text)}"


def _scalar(text: str) -> Any:
    """A number, a boolean or null where the text is one in JSON, else the text."""
    try:
        value = json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return text
    finite = not isinstance(value, float) or math.isfinite(value)
    return value if finite and not isinstance(value, dict | list) else text


def _key(text: str | None) -> str | None:
    # What folds to nothing is the key of no clip.
    return None if text is None else key_of(text) or ""
