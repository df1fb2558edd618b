"""Assembles the ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from mosic import __version__
from mosic.boot import open_runtime
from mosic.logs import set_up_logs
from mosic.metrics import Metrics
from mosic.settings import Settings, load_settings
from mosic.web.auth import READERS, REFUSALS, check_listener
from mosic.web.bodies import Bodies
from mosic.web.cors import Cors
from mosic.web.door import StreamDoor
from mosic.web.errors import install_error_answers, problems
from mosic.web.instrument import Instrument, tell_of_refusal
from mosic.web.lifespan import Lifespan
from mosic.web.paths import PREFIX, OnePath
from mosic.web.private import Private
from mosic.web.protocol import REFUSED
from mosic.web.routes import ops, play, stream, tus
from mosic.web.stopping import told_to_stop

_DESCRIPTION = """Upload, list, edit and stream audio.

Writes need an API key in the header `X-API-Key`. Every error is `application/problem+json` with a stable
`code`."""


def create_app(settings: Settings) -> ASGIApp:
    """The service as one ASGI application; its lifespan opens and closes everything it needs."""
    metrics = Metrics()

    api = FastAPI(
        title="Mosic",
        version=__version__,
        description=_DESCRIPTION,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    install_error_answers(api)
    closed = settings.require_key_for_reads
    readers = READERS if closed else []
    # `upload` and `uploads` before `{clip_id}`: routes are tried in order.
    api.router.routes.append(stream.route)
    api.include_router(tus.router)
    api.include_router(play.router, dependencies=readers, responses=problems(*REFUSALS) if closed else {})
    api.include_router(ops.router)
    api.add_api_route("/api/docs", _docs, methods=["GET", "HEAD"], include_in_schema=False)
    stream.document_stream(api, closed=closed)
    api.state.all_routes = [
        route
        for route in (*tus.router.routes, *play.router.routes, *ops.router.routes, *api.router.routes)
        if isinstance(route, Route)
    ]

    @asynccontextmanager
    async def alive() -> AsyncIterator[None]:
        async with (
            open_runtime(settings, metrics, sweeps=True) as runtime,
            told_to_stop(runtime.stopping, settings.shutdown_delay_seconds),
        ):
            api.state.runtime = door.runtime = runtime
            yield

    app: ASGIApp = OnePath(tus.TusDialect(api), settings.alias_prefixes)
    if settings.cors_origins:
        app = Cors(app, settings.cors_origins)
    prefixes = (PREFIX, *settings.alias_prefixes)
    if closed:
        app = Private(app, prefixes)
    others = Lifespan(Bodies(Instrument(app, metrics)), alive, {REFUSED: partial(tell_of_refusal, metrics)})
    door = StreamDoor(others, metrics, settings.alias_prefixes, check_listener if closed else None)
    if closed:
        door.listen = Private(door.listen, prefixes)
    if settings.cors_origins:
        door.listen = Cors(door.listen, settings.cors_origins)
    return door


async def _docs() -> HTMLResponse:
    return get_swagger_ui_html(openapi_url="/openapi.json", title="Mosic")


def app_from_environment() -> ASGIApp:
    """For servers that are given a name to import (`uvicorn --factory`), as worker processes are."""
    settings = load_settings()
    set_up_logs(settings)
    return create_app(settings)
