"""What routes ask for."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path
from starlette.requests import HTTPConnection, Request

from mosic.core.runtime import Runtime
from mosic.errors import ClipNotFound
from mosic.web.urls import Urls
from mosic.wire.ids import parse_uuid


def runtime_of(request: HTTPConnection) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime


def fields_of(request: HTTPConnection) -> dict[str, str]:
    """Header fields by lower-case name; lines of one name are joined as RFC 9110 §5.3 says."""
    fields: dict[str, str] = {}
    for name, value in request.scope["headers"]:
        text = value.decode("latin-1")
        key = name.decode("latin-1")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return fields


def parse_clip_id(text: str) -> UUID:
    """Raises `ClipNotFound`: what is not a UUID in its canonical form names no clip."""
    try:
        return parse_uuid(text)
    except ValueError:
        raise ClipNotFound from None


async def _clip_id(clip_id: Annotated[str, Path(description="The clip's UUID.")]) -> UUID:
    return parse_clip_id(clip_id)


async def _runtime(request: Request) -> Runtime:
    return runtime_of(request)


async def _urls(request: Request) -> Urls:
    rt = runtime_of(request)
    return Urls.of(request, rt.settings, rt.signer)


Rt = Annotated[Runtime, Depends(_runtime)]
ClipId = Annotated[UUID, Depends(_clip_id)]
Links = Annotated[Urls, Depends(_urls)]
