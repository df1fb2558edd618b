"""The parameters of lists of clips, and the filters that they become."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from mosic.db.filters import Filters
from mosic.db.pages import Place
from mosic.db.sorting import DEFAULT, RELEVANCE, SORTS, order_of
from mosic.errors import InvalidRequest
from mosic.web.parameters import METADATA_PREFIX
from mosic.wire.cursor import decode_cursor, encode_cursor
from mosic.wire.folding import MAX_WORDS
from mosic.words import TEXTS

# All text filters together, in UTF-8: the Link to the next page repeats them, in up to three times as many
# bytes, and clients and proxies take no head that is much longer.
_MAX_BYTES = 500
_MAX_METADATA = 10
_MAX_LENGTH = 200
_NO_DATA: Mapping[str, str] = MappingProxyType({})


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL characters")
    return text


def _written_out(moment: object) -> object:
    # pydantic also takes seconds since 1970.
    if isinstance(moment, str) and re.match(r"\d{4}-\d\d-\d\d[Tt]\d\d:", moment) is None:
        raise ValueError("must be a date with a time (RFC 3339)")
    return moment


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _known_sort(sort: str) -> str:
    if sort not in SORTS:
        raise ValueError(f"must be one of {', '.join(SORTS)}")
    return sort


Searched = Annotated[str, Field(max_length=200), AfterValidator(_storable)]
Equal = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S"), AfterValidator(_storable)]
Moment = Annotated[datetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]
Seconds = Annotated[float, Field(ge=0, le=10_000_000, allow_inf_nan=False)]
Sort = Annotated[str, Field(json_schema_extra={"enum": list(SORTS)}), AfterValidator(_known_sort)]


class FilterParameters(BaseModel):
    """Which clips are meant; those that fit all that is given."""

    model_config = ConfigDict(extra="forbid")

    q: Searched | None = Field(
        None,
        description=f"Words, each of which must be part of some text of the clip: "
        f"{', '.join(TEXTS)}, file name or a tag. Case, accents and width do not matter.",
        examples=["blue train"],
    )
    artist: Equal | None = Field(
        None, description="This artist; case, accents and width do not matter.", examples=["Nina Simone"]
    )
    album: Equal | None = Field(
        None, description="This album, compared like `artist`.", examples=["Blue Train"]
    )
    genre: Equal | None = Field(None, description="This genre, compared like `artist`.", examples=["Jazz"])
    media_type: Annotated[str, Field(pattern=r"^[a-z]+/[a-z0-9][a-z0-9.+-]*$", max_length=100)] | None = (
        Field(None, description="Exactly this media type.", examples=["audio/flac"])
    )
    sha256: Annotated[str, Field(pattern="^[0-9A-Fa-f]{64}$")] | None = Field(
        None,
        description="Only the clip with these bytes.",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
    external_id: Equal | None = Field(
        None, description="Only the clip with this key of the app's own.", examples=["order-1234"]
    )
    created_after: Moment | None = Field(
        None,
        description="Added later than this (RFC 3339; without an offset it is UTC).",
        examples=["2026-11-21T03:32:00Z"],
    )
    created_before: Moment | None = Field(
        None, description="Added earlier than this.", examples=["2026-12-01T00:00:00Z"]
    )
    duration_min: Seconds | None = Field(None, description="Seconds, or longer.", examples=[60])
    duration_max: Seconds | None = Field(None, description="Seconds, or shorter.", examples=[300.5])

    def filters(
        self, *, metadata: Mapping[str, str] = MappingProxyType({}), trashed: bool = False
    ) -> Filters:
        """Raises `InvalidRequest` for what cannot be searched for."""
        texts = (self.q, self.artist, self.album, self.genre, self.external_id, *metadata, *metadata.values())
        if "\0" in "".join(metadata.values()) or "\0" in "".join(metadata):
            raise _invalid("metadata.NAME", "must not contain NUL characters")
        if sum(len(text.encode()) for text in texts if text) > _MAX_BYTES:
            raise _invalid("q", f"the texts of all filters have more than {_MAX_BYTES} bytes together")
        longest = math.inf if self.duration_max is None else self.duration_max
        if self.duration_min is not None and self.duration_min > longest:
            raise _invalid("duration_min", "must not be more than duration_max")
        given = self.model_dump(include=set(FilterParameters.model_fields), exclude={"sha256"})
        digest = bytes.fromhex(self.sha256) if self.sha256 else None
        data = tuple(sorted(metadata.items()))
        filters = Filters(**{**given, "q": self.q or None}, sha256=digest, metadata=data, trashed=trashed)
        if len(filters.words) > MAX_WORDS:
            raise _invalid("q", f"has more than {MAX_WORDS} words")
        return filters


class ListParameters(FilterParameters):
    """A page of clips."""

    # `mosic.web.parameters` refuses unknown ones, and knows those of `metadata`.
    model_config = ConfigDict(extra="ignore")

    sort: Sort | None = Field(
        None,
        description="Order; `-` reverses it. Clips without a value come last, equal ones by id. Without it: "
        "with `q` the best matches first, else the newest first.",
        examples=["-created_at"],
    )
    limit: Annotated[int, Field(ge=1, le=500)] = Field(
        50, description="Most clips on one page.", examples=[50]
    )
    cursor: Annotated[str, Field(max_length=1500)] | None = Field(
        None, description="Opaque; from the Link of the previous page, with the same filters and order."
    )
    trash: bool = Field(False, description="List the clips in the trash instead; needs a key.")

    @property
    def order(self) -> str:
        return self.sort or (RELEVANCE if self.q and self.q.strip() else DEFAULT)

    def place(self, filters: Filters) -> Place | None:
        """Where the page begins; None: at the first clip. Raises `InvalidRequest`."""
        if not self.cursor:
            return None
        order = order_of(self.order)
        value, clip_id, part = decode_cursor(
            self.cursor, self.order, order.of, parts=len(order.parts), of=filters.fingerprint
        )
        if (value is None) != (order.parts[part].key is None):
            raise _invalid("cursor", "It is damaged, or not a cursor of this service.")
        return Place(part, value, clip_id)

    def following(self, filters: Filters, end: Place) -> str:
        """The query of the next page."""
        given = self.model_dump(mode="json", exclude_none=True, exclude={"cursor", "trash", "limit"})
        cursor = encode_cursor(self.order, end.value, end.clip_id, part=end.part, of=filters.fingerprint)
        trash = {"trash": "true"} if self.trash else {}
        data = {f"{METADATA_PREFIX}{name}": value for name, value in filters.metadata}
        return urlencode({"limit": self.limit, **given, **data, **trash, "cursor": cursor})


METADATA_PARAMETER: dict[str, Any] = {
    "name": f"{METADATA_PREFIX}NAME",
    "in": "query",
    "required": False,
    "description": "Only clips whose metadata has this value by this name: `metadata.shelf=A7`. A number, "
    "`true`, `false` or `null` matches the JSON value as well as the text.",
    "schema": {"type": "string", "maxLength": _MAX_LENGTH},
    "example": "A7",
}


def metadata_of(request: Request) -> dict[str, str]:
    """The values that the clips' own data must have, by name. Raises `InvalidRequest`."""
    asked = {
        name.removeprefix(METADATA_PREFIX): value
        for name, value in request.query_params.items()
        if name.startswith(METADATA_PREFIX)
    }
    if any(len(value) > _MAX_LENGTH for value in asked.values()):
        raise _invalid(METADATA_PARAMETER["name"], f"has more than {_MAX_LENGTH} characters")
    if len(asked) > _MAX_METADATA:
        raise _invalid(METADATA_PARAMETER["name"], f"is given for more than {_MAX_METADATA} names")
    return asked


def _invalid(parameter: str, reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"The parameter {parameter} is not valid.", errors=[{"loc": ["query", parameter], "msg": reason}]
    )
