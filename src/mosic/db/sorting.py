"""The orders in which clips are listed.

An order consists of parts, one behind the other, and each part is read through an index that has its order:
clips with a value, then clips without one; or, in order of relevance, clips with a name that is what was
searched, then names that begin with it, then the others. So a page reads about as many rows as it has,
wherever it begins. Within a part clips are ordered by value, then by id, which makes every order total.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from mosic.db.filters import Condition
from mosic.db.tables import clip_plays, clips
from mosic.wire.cursor import SortValue
from mosic.words import NAMES

DEFAULT = "-created_at"
RELEVANCE = "relevance"

_EXACT, _START = "phrase", "phrase_start"
"""Parameters of the order by relevance."""

# A genre is the name of too many.
_NAMES = tuple(clips.c[f"index_{name}"] for name in NAMES if name != "genre")


@dataclass(frozen=True, slots=True)
class Part:
    """`key`: by which it is ordered, None: by id alone. `only`: which clips belong to it."""

    key: sa.ColumnElement[Any] | None
    only: Condition | None


@dataclass(frozen=True, slots=True)
class Order:
    """A total order of clips. `of`: the type of its keys."""

    name: str
    of: type[SortValue]
    parts: Sequence[Part]
    descending: bool

    def ordered(self, part: Part) -> list[sa.ColumnElement[Any]]:
        columns = [clips.c.id] if part.key is None else [part.key, clips.c.id]
        return [column.desc() if self.descending else column.asc() for column in columns]

    def behind(self, part: Part) -> Condition:
        """The clips of the part that come after the one with the parameters `last_value` and `last_id`."""
        last_id = sa.bindparam("last_id", type_=clips.c.id.type)
        if part.key is None:
            return clips.c.id < last_id if self.descending else clips.c.id > last_id
        here = sa.tuple_(part.key, clips.c.id)
        last = sa.tuple_(sa.bindparam("last_value", type_=part.key.type), last_id)
        return here < last if self.descending else here > last

    @property
    def type(self) -> sa.types.TypeEngine[Any]:
        """SQL type of its keys."""
        key = self.parts[0].key
        return sa.Integer() if key is None else key.type

    @property
    def by_plays(self) -> bool:
        """Whether its key is a column of `clip_plays`."""
        return any(part.key is not None and part.key.table is clip_plays for part in self.parts)


def _always(key: sa.ColumnElement[Any]) -> list[Part]:
    return [Part(key, None)]


def _last_without(key: sa.ColumnElement[Any]) -> list[Part]:
    return [Part(key, key.is_not(None)), Part(None, key.is_(None))]


_SORTS: dict[str, tuple[type[SortValue], Sequence[Part]]] = {
    "created_at": (datetime, _always(clips.c.created_at)),
    "updated_at": (datetime, _always(clips.c.updated_at)),
    **{name: (str, _last_without(clips.c[f"index_{name}"])) for name in NAMES},
    "duration": (float, _last_without(clips.c.duration)),
    "size": (int, _last_without(clips.c.index_size)),
    "play_count": (int, _always(clip_plays.c.play_count)),
    "last_played_at": (datetime, _last_without(clip_plays.c.last_played_at)),
}
SORTS = tuple(f"{sign}{name}" for name in _SORTS for sign in ("", "-"))
"""What a list can be sorted by; with `-` the other way round, clips without a value last all the same."""


def order_of(sort: str) -> Order:
    """`sort`: one of `SORTS`, or `RELEVANCE`."""
    if sort == RELEVANCE:
        return Order(sort, int, _relevance(), descending=True)
    of, parts = _SORTS[sort.removeprefix("-")]
    return Order(sort, of, parts, descending=sort.startswith("-"))


def _relevance() -> list[Part]:
    def any_name(test: Callable[[sa.Column[Any]], Condition]) -> Condition:
        return sa.or_(*map(test, _NAMES))

    def is_phrase(name: sa.Column[Any]) -> Condition:
        return name == sa.bindparam(_EXACT, type_=sa.Text)

    def starts(name: sa.Column[Any]) -> Condition:
        return name.like(sa.bindparam(_START, type_=sa.Text))

    # COALESCE: of a clip without an artist it is not known whether the artist is the one.
    exact = sa.func.coalesce(any_name(is_phrase), sa.false())
    start = sa.func.coalesce(any_name(starts), sa.false())
    return [
        Part(None, any_name(is_phrase)),
        Part(None, sa.and_(any_name(starts), sa.not_(exact))),
        Part(None, sa.not_(start)),
    ]


def relevance_values(phrase: str, start: str) -> dict[str, str]:
    """Of the parameters that the order by relevance has besides."""
    return {_EXACT: phrase, _START: start}
