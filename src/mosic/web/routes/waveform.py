"""`/play/{id}/waveform`: which requests are for it, and how OpenAPI shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from mosic.core.delivery import Delivery
from mosic.core.runtime import Runtime
from mosic.core.waveform import Format, Wanted, open_waveform
from mosic.errors import (
    BlobDamaged,
    BlobMissing,
    ClipNotFound,
    InvalidRequest,
    NoWaveform,
    PreconditionFailed,
    RangeNotSatisfiable,
    SoundNotInstalled,
    Unavailable,
)
from mosic.web.auth import REFUSALS, api_key_header, bearer_key
from mosic.web.errors import problems
from mosic.web.paths import CLIP, PREFIX, routed_path
from mosic.wire.retrieval import Retrieval

PATH = f"{PREFIX}/{{clip_id}}/waveform"
MOST_POINTS = 10_000

_END = "/waveform"
_FORMATS: tuple[Format, ...] = get_args(Format)


class WaveformRoute:
    """GET and HEAD of `/play/{id}/waveform`, under every prefix; see `mosic.web.delivery`."""

    path = PATH

    def __init__(
        self, alias_prefixes: Iterable[str], check: Callable[[Runtime, Scope], None] | None = None
    ) -> None:
        """`check` raises when a request is refused; without it everybody may look."""
        self._check = check
        self._prefixes = frozenset((PREFIX, *alias_prefixes))

    def matches(self, scope: Scope) -> bool:
        if _END not in scope["path"]:
            return False
        path = routed_path(scope).removesuffix("/")
        if not path.endswith(_END):
            return False
        prefix, _, scope[CLIP] = path[: -len(_END)].rpartition("/")
        return prefix in self._prefixes

    async def open(self, rt: Runtime, scope: Scope, asked: Retrieval) -> Delivery:
        if self._check is not None:
            self._check(rt, scope)
        return await open_waveform(rt, scope[CLIP], read_wanted(scope["query_string"]), asked)

    def opened(self, seconds: float) -> None:
        """Nothing is counted beside what is counted of every request."""

    def ended(self, outcome: str) -> None:
        """As `opened`."""


def read_wanted(query: bytes) -> Wanted:
    """`format`, `points` and `bits`; others are for whatever called. The last of several counts. Raises
    `InvalidRequest`."""
    given = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=100))
    wanted: Format = "json"
    if "format" in given:
        known = [one for one in _FORMATS if one == given["format"]]
        if not known:
            raise InvalidRequest(f"format must be one of {', '.join(_FORMATS)}.")
        wanted = known[0]
    if given.get("bits", "8") not in ("8", "16"):
        raise InvalidRequest("bits must be 8 or 16.")
    bits: Literal[8, 16] = 16 if given.get("bits") == "16" else 8
    if "points" not in given:
        return Wanted(wanted, None, bits)
    text = given["points"]
    points = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0
    if not 1 <= points <= MOST_POINTS:
        raise InvalidRequest(f"points must be a whole number from 1 to {MOST_POINTS}.")
    return Wanted(wanted, points, bits)


async def _never(_: Request) -> Response:
    raise ClipNotFound


# For 405 and its Allow, when another method is used.
routes = [Route(PATH, _never, methods=["GET"], include_in_schema=False)]

_EXAMPLE = {
    "version": 2,
    "channels": 1,
    "sample_rate": 44100,
    "samples_per_pixel": 13312,
    "bits": 8,
    "length": 3,
    "data": [-47, 46, -78, 77, -1, 1],
}
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_DOCUMENTED: dict[str, Any] = {
    "tags": ["clips"],
    "summary": "Peaks for drawing the clip",
    "description": "The audiowaveform data format, version 2, which peaks.js, wavesurfer.js and "
    "waveform-data read: the lowest and the highest sample, over all channels, of each stretch of the clip. "
    "Other query parameters are ignored.",
    "operationId": "get_waveform",
    "parameters": [
        {
            "name": "clip_id",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "description": "The clip's UUID."},
        },
        {
            "name": "points",
            "in": "query",
            "description": "At most so many pairs. Without it all that are stored: at most 32768, of 64 "
            "samples or more; of a picture 480.",
            "schema": {"type": "integer", "minimum": 1, "maximum": MOST_POINTS},
            "example": 800,
        },
        {
            "name": "format",
            "in": "query",
            "description": "`json`, `dat` (binary), or `svg`, a picture.",
            "schema": {"type": "string", "enum": list(_FORMATS), "default": "json"},
        },
        {
            "name": "bits",
            "in": "query",
            "description": "Of each value. 16 show quiet audio more exactly; peaks.js reads 8 only.",
            "schema": {"type": "integer", "enum": [8, 16], "default": 8},
        },
    ],
    "responses": {
        "200": {
            "description": "The waveform.",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "title": "Waveform",
                        "required": list(_EXAMPLE),
                        "properties": {
                            "version": {"type": "integer", "const": 2},
                            "channels": {"type": "integer", "const": 1},
                            "sample_rate": {"type": "integer", "description": "Hertz."},
                            "samples_per_pixel": {"type": "integer", "description": "Samples of each pair."},
                            "bits": {"type": "integer", "enum": [8, 16]},
                            "length": {"type": "integer", "description": "How many pairs there are."},
                            "data": {
                                "type": "array",
                                "items": {"type": "integer", "minimum": -32768, "maximum": 32767},
                                "description": "Minimum, maximum, minimum, …",
                            },
                        },
                    },
                    "example": _EXAMPLE,
                },
                "application/octet-stream": _BYTES,
                "image/svg+xml": {
                    "schema": {"type": "string"},
                    "example": '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 480 256">…</svg>',
                },
            },
        },
        "202": {
            "description": "It is being made. Ask again.",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "title": "Pending",
                        "required": ["state", "retry_after"],
                        "properties": {
                            "state": {"type": "string", "const": "pending"},
                            "retry_after": {"type": "integer", "description": "Seconds."},
                        },
                    },
                    "example": {"state": "pending", "retry_after": 2},
                }
            },
        },
        "206": {"description": "The requested ranges.", "content": {"application/octet-stream": _BYTES}},
        "304": {"description": "Unchanged."},
        **{
            str(status): response
            for status, response in problems(
                ClipNotFound,
                PreconditionFailed,
                RangeNotSatisfiable,
                InvalidRequest,
                NoWaveform,
                BlobMissing,
                BlobDamaged,
                SoundNotInstalled,
                Unavailable,
            ).items()
        },
    },
}


def document_waveform(app: FastAPI, *, closed: bool) -> None:
    """Add the route to the OpenAPI document, as `mosic.web.routes.stream` does. `closed`: reads need a key or
    a signature."""
    generate = app.openapi
    documented = dict(_DOCUMENTED)
    if closed:
        refusals = {str(status): response for status, response in problems(*REFUSALS).items()}
        documented["security"] = [{api_key_header.scheme_name: []}, {bearer_key.scheme_name: []}]
        documented["responses"] = _DOCUMENTED["responses"] | refusals

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            generate()["paths"][PATH] = {"get": documented}
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]
