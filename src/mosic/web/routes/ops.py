"""`/health`, `/ready`, `/metrics`: for those who run the service."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from mosic.core.health import check_ready
from mosic.errors import Unavailable
from mosic.web.deps import Rt
from mosic.web.errors import problems
from mosic.web.routes.reads import readable

router = APIRouter(tags=["operation"])


class Health(BaseModel):
    status: str


@readable(router, "/health", summary="Whether the process lives")
async def health() -> Health:
    return Health(status="ok")


@readable(
    router,
    "/ready",
    summary="Whether it can do its work: database, migrations, store, disk; and is not shutting down",
    responses=problems(Unavailable),
)
async def ready(rt: Rt) -> Health:
    await check_ready(rt)
    return Health(status="ready")


@readable(
    router, "/metrics", summary="Prometheus or OpenMetrics exposition", response_class=PlainTextResponse
)
async def metrics(request: Request, rt: Rt) -> Response:
    content, content_type = await asyncio.to_thread(rt.metrics.exposition, request.headers.get("accept", ""))
    return Response(content, headers={"Content-Type": content_type, "Cache-Control": "no-store"})
