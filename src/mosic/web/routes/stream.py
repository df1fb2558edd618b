"""`/play/{id}/stream`: which requests are for it, what is opened for them, and how OpenAPI shows it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from mosic.core.delivery import Stream
from mosic.core.runtime import Runtime
from mosic.core.stream import open_stream
from mosic.errors import (
    BlobMissing,
    ClipNotFound,
    PreconditionFailed,
    RangeNotSatisfiable,
    RemoteDisabled,
    RemoteFailed,
    RemoteTimeout,
    Unavailable,
)
from mosic.metrics.streams import StreamMetrics
from mosic.web.auth import REFUSALS, api_key_header, bearer_key, document_signed_urls
from mosic.web.errors import problems
from mosic.web.paths import CLIP, PREFIX, routed_path
from mosic.wire.retrieval import Retrieval

PATH = f"{PREFIX}/{{clip_id}}/stream"


_END = "/stream"
# For players and feeds that go by the ending of a URL.
_WITH_ENDING = re.compile(r"(.*/stream)(\.[A-Za-z0-9+]{1,8})")
_ENDING = "mosic.ending"
# Players ask for one path many times. Longer ones are of no clip, and would fill the memory.
_MATCHES = 2048
_LONGEST_MATCH = 128


class StreamRoute:
    """GET and HEAD of `/play/{id}/stream`, under every prefix, also with the file ending of the clip behind
    it (`/stream.mp3`); see `mosic.web.delivery`."""

    path = PATH

    def __init__(
        self,
        metrics: StreamMetrics,
        alias_prefixes: Iterable[str],
        check: Callable[[Runtime, Scope], None] | None = None,
    ) -> None:
        """`check` raises when a request is refused; without it everybody may listen."""
        self.opened = metrics.opened
        self.ended = metrics.outcome
        self._check = check
        self._prefixes = frozenset((PREFIX, *alias_prefixes))
        self._match_again = lru_cache(_MATCHES)(self._match)

    def matches(self, scope: Scope) -> bool:
        path = scope["path"]
        match = self._match_again if len(path) <= _LONGEST_MATCH else self._match
        found = match(scope.get("raw_path") or b"", path)
        if found is None:
            return False
        scope[CLIP], scope[_ENDING] = found
        return True

    def _match(self, raw_path: bytes, path: str) -> tuple[str, str | None] | None:
        """What the path has as the clip's id, and the ending, if the path is one of a stream."""
        path = routed_path({"raw_path": raw_path, "path": path}).removesuffix("/")
        ending = None
        if not path.endswith(_END):
            parted = _WITH_ENDING.fullmatch(path) if "/stream." in path else None
            if parted is None:
                return None
            path, ending = parted[1], parted[2]
        prefix, _, clip_id = path[: -len(_END)].rpartition("/")
        return (clip_id, ending) if prefix in self._prefixes else None

    async def open(self, rt: Runtime, scope: Scope, asked: Retrieval) -> Stream:
        if self._check is not None:
            self._check(rt, scope)
        return await open_stream(rt, scope[CLIP], asked, scope[_ENDING])


async def _never(_: Request) -> Response:
    raise ClipNotFound


# For 405 and its Allow, when another method is used.
routes = [
    Route(path, _never, methods=["GET"], include_in_schema=False) for path in (PATH, f"{PATH}.{{ending}}")
]

_BYTES = {"audio/*": {"schema": {"type": "string", "format": "binary"}}}
_DOCUMENTED: dict[str, Any] = {
    "tags": ["clips"],
    "summary": "The audio, by range or whole (RFC 9110); counts a play",
    "description": "The clip's file ending may follow, as in `/stream.mp3`, for players and feeds that "
    "need one.",
    "operationId": "stream_clip",
    "parameters": [
        {
            "name": "clip_id",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "description": "The clip's UUID."},
        },
    ],
    "responses": {
        "200": {"description": "The whole audio.", "content": _BYTES},
        "206": {"description": "The requested ranges.", "content": _BYTES},
        "304": {"description": "Unchanged."},
        "307": {"description": "An external clip, with MOSIC_REMOTE_STREAM=redirect."},
        **{
            str(status): response
            for status, response in problems(
                ClipNotFound,
                PreconditionFailed,
                RangeNotSatisfiable,
                BlobMissing,
                RemoteDisabled,
                RemoteFailed,
                RemoteTimeout,
                Unavailable,
            ).items()
        },
    },
}


def _documented(*, closed: bool) -> dict[str, Any]:
    if not closed:
        return _DOCUMENTED
    refusals = {str(status): response for status, response in problems(*REFUSALS).items()}
    return {
        **_DOCUMENTED,
        "security": [{api_key_header.scheme_name: []}, {bearer_key.scheme_name: []}],
        "responses": _DOCUMENTED["responses"] | refusals,
    }


def document_stream(app: FastAPI, *, closed: bool) -> None:
    """Add the route to the OpenAPI document, which FastAPI makes of its own routes only. `closed`: reads need
    a key or a signature."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            schema["paths"][PATH] = {"get": _documented(closed=closed)}
            if closed:
                document_signed_urls(schema)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]
