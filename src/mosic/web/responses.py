"""Shared by the routes of clips: small JSON bodies in, clips out."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TypeVar

from fastapi import Request, Response
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.responses import Response as PlainResponse

from mosic.core.runtime import Runtime
from mosic.db.clips import Clip
from mosic.errors import (
    InvalidRequest,
    MalformedRequest,
    TooLarge,
)
from mosic.web.arriving import arriving_chunks
from mosic.web.errors import invalid_request
from mosic.web.schemas import ClipOut
from mosic.web.urls import Urls
from mosic.wire.owndata import unique_names

_JSON_SIZE = 256 * 1024
_MOST_MEMBERS = 100
_Model = TypeVar("_Model", bound=BaseModel)


async def small_body(request: Request, rt: Runtime) -> bytes:
    """A body that should be JSON, limited in size and, like an upload, in time."""
    body = bytearray()
    async for chunk in arriving_chunks(request, rt.settings):
        body += chunk
        if len(body) > _JSON_SIZE:
            raise TooLarge(f"A JSON body may have at most {_JSON_SIZE} bytes.")
    return bytes(body)


def parsed(model: type[_Model], body: bytes) -> _Model:
    try:
        members = from_json(body)
    except ValueError:
        raise MalformedRequest("The body is not valid JSON.") from None
    if isinstance(members, dict) and "metadata" in members:
        try:
            json.loads(body, object_pairs_hook=unique_names)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(
                f"metadata: {error}.", errors=[{"loc": ["body", "metadata"], "msg": str(error)}]
            ) from None
    # Each unknown member is an error of its own, which costs time to make and print.
    if isinstance(members, dict) and len(members) > _MOST_MEMBERS:
        raise InvalidRequest(f"The body has {len(members)} members; at most {_MOST_MEMBERS} are allowed.")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise invalid_request("body", error.errors(include_url=False, include_context=False)) from None


def clip_response(clip: Clip, links: Urls, status: HTTPStatus) -> Response:
    headers = {"ETag": clip.etag, "Cache-Control": "no-cache"}
    if status is HTTPStatus.CREATED:
        headers["Location"] = links.clip_path(clip.id)
    return json_response(ClipOut.of(clip, links).model_dump_json().encode(), status=status, headers=headers)


def json_response(content: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Ends in a newline, so that a shell prompt begins on a new line."""
    return PlainResponse(content + b"\n", status_code=status, headers=headers, media_type="application/json")
