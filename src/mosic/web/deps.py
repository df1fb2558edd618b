"""Dependencies of routes."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path
from starlette.requests import HTTPConnection, Request

from mosic.core.runtime import Runtime
from mosic.errors import ClipNotFound
from mosic.web.urls import Urls
from mosic.wire.conditions import Preconditions, read_preconditions
from mosic.wire.fields import fields_by_name
from mosic.wire.ids import parse_uuid

utc_now = partial(datetime.now, UTC)


RUNTIME = "mosic.runtime"
"""In the state of the lifespan: the `Runtime` of the service."""


def runtime_of(request: HTTPConnection) -> Runtime:
    runtime: Runtime = request.scope["state"][RUNTIME]
    return runtime


def preconditions_of(request: HTTPConnection) -> Preconditions | None:
    return read_preconditions(fields_by_name(request.scope["headers"]), utc_now)


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
