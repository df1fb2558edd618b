"""`/health`, `/ready`, `/metrics`: for operators."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from mosic.core.health import check_ready
from mosic.errors import Unavailable
from mosic.web.deps import Rt
from mosic.web.errors import problems
from mosic.web.responses import json_response
from mosic.web.routes.reads import readable

router = APIRouter(tags=["operation"])


class Health(BaseModel):
    status: str


@readable(router, "/health", response_model=Health, summary="Whether the process is alive")
async def health() -> Response:
    return _answer("ok")


@readable(
    router,
    "/ready",
    response_model=Health,
    summary="Whether the service can work: database, migrations, store, disk; and is not shutting down",
    responses=problems(Unavailable),
)
async def ready(request: Request, rt: Rt) -> Response:
    # Anybody may request it, and each check uses database connections and writes to the disks: a request
    # during a check waits for its result.
    state = request.app.state
    check: asyncio.Task[None] | None = getattr(state, "ready_check", None)
    if check is None or check.done() or rt.stopping.is_set():
        check = state.ready_check = asyncio.create_task(check_ready(rt))
        check.add_done_callback(_retrieved)
    await asyncio.shield(check)
    return _answer("ready")


def _answer(status: str) -> Response:
    return json_response(Health(status=status).model_dump_json().encode())


def _retrieved(check: asyncio.Task[None]) -> None:
    """Ignores the result if every client that waited for it has disconnected."""
    if not check.cancelled():
        check.exception()


@readable(
    router,
    "/metrics",
    summary="Metrics for Prometheus or OpenMetrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"example": "mosic_active_streams 3.0\n"}}}},
)
async def metrics(request: Request, rt: Rt) -> Response:
    accept = request.headers.get("accept", "")
    exposition = rt.metrics.cached_exposition(accept)
    if exposition is None:
        exposition = await asyncio.to_thread(rt.metrics.exposition, accept)
    content, content_type = exposition
    headers = {"Content-Type": content_type, "Cache-Control": "no-store", "Vary": "Accept"}
    return Response(content, headers=headers)
