"""`/play/{id}/stream`: a plain Starlette route, since every layer on this path costs answers a second."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

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
from mosic.web.deps import fields_of, parse_clip_id, runtime_of
from mosic.web.errors import problems
from mosic.web.send import send_stream

PATH = "/play/{clip_id}/stream"


class _StreamEndpoint:
    """ASGI; a class, so that Starlette hands it the bare messages."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # FastAPI's router names only its own routes; the metrics want to know this one too.
        scope["route"] = route
        request = Request(scope)
        rt = runtime_of(request)
        clip_id = parse_clip_id(scope["path_params"]["clip_id"])
        stream = await open_stream(rt, clip_id, scope["method"], fields_of(request))
        await send_stream(stream, receive, send, rt.metrics, rt.plays)


route = Route(PATH, _StreamEndpoint(), methods=["GET"], include_in_schema=False)

_BYTES = {"audio/*": {"schema": {"type": "string", "format": "binary"}}}
_DOCUMENTED = {
    "tags": ["clips"],
    "summary": "The audio, by range or whole (RFC 9110); counts a play",
    "operationId": "stream_clip",
    "parameters": [
        {
            "name": "clip_id",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "description": "The clip's UUID."},
        },
        *(
            {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
            for name in ("Range", "If-Range", "If-Match", "If-None-Match")
        ),
    ],
    "responses": {
        "200": {"description": "The whole audio.", "content": _BYTES},
        "206": {"description": "The ranges asked for.", "content": _BYTES},
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


def document_stream(app: FastAPI) -> None:
    """Add the route to the OpenAPI document, which FastAPI makes of its own routes only."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            schema["paths"][PATH] = {"get": _DOCUMENTED}
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]
