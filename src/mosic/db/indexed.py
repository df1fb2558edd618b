"""What clips are listed by: columns that are made from the rest of the row, in the same statement.

`index_document` is searched in. The keys of names are folded as it is, cut, and compared byte by byte, so
that orders and equality do not depend on the locale of a database. `index_type` and `index_size` repeat what
the blob has, since an order over two tables has no index.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from mosic.db.tables import clips
from mosic.wire.folding import VERSION, document, fold
from mosic.words import NAMES, TEXTS, WORDS

INDEX_VERSION = VERSION
"""Rows with a smaller one have to be made anew."""

KEY_LENGTH = 120
"""Characters of a key: what follows is not compared."""

INDEXED = tuple(column.name for column in clips.c if column.info.get("derived"))
"""The columns."""

# Characters before they are written in ASCII.
_DOCUMENT_LENGTH = 40_000
# What may be long comes last, since what is beyond the bound is not searched in.
_SEARCHED = (*(word.name for word in WORDS if word.kind == "line"), "file_name", "description")
_SOURCES = frozenset((*TEXTS, "file_name", "tags", "blob_key"))


class Described(Protocol):
    """What is read of a clip."""

    @property
    def tags(self) -> Mapping[str, Iterable[str]]: ...
    @property
    def media_type(self) -> str | None: ...
    @property
    def size(self) -> int | None: ...


def is_indexed(changes: Mapping[str, Any]) -> bool:
    """Whether a change of these columns makes new values necessary."""
    return not _SOURCES.isdisjoint(changes)


def index_values(clip: Described) -> dict[str, Any]:
    """The columns of `INDEXED`, by name."""
    return {
        "index_version": INDEX_VERSION,
        "index_document": _document(clip),
        **{f"index_{name}": key_of(getattr(clip, name)) for name in NAMES},
        "index_type": clip.media_type,
        "index_size": clip.size,
    }


def key_of(text: str | None) -> str | None:
    """By which texts are ordered and found equal; None for one in which nothing is left."""
    return (fold(text)[:KEY_LENGTH].strip() or None) if text else None


def _document(clip: Described) -> str:
    """Every text once, in a line of its own, so that no word is found across two."""
    texts: dict[str, None] = {}
    left = _DOCUMENT_LENGTH
    for text in _texts(clip):
        part = fold(text[:left])[:left]
        if part and part not in texts:
            texts[part] = None
            left -= len(part)
            if left <= 0:
                break
    return document("\n".join(texts))


def _texts(clip: Described) -> Iterable[str]:
    for name in _SEARCHED:
        if text := getattr(clip, name):
            yield text
    for values in clip.tags.values():
        yield from values
