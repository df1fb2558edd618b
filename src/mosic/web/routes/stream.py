"""`/play/{id}/stream`, as the API document shows it. GET and HEAD are answered at `mosic.web.door`."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

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
from mosic.web.auth import REFUSALS, api_key_header, bearer_key, document_signed_urls
from mosic.web.errors import problems
from mosic.web.paths import PREFIX

PATH = f"{PREFIX}/{{clip_id}}/stream"


async def _never(_: Request) -> Response:
    raise ClipNotFound


# Tell those who ask with another method which ones there are.
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
            str(status): answer
            for status, answer in problems(
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
    refusals = {str(status): answer for status, answer in problems(*REFUSALS).items()}
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
