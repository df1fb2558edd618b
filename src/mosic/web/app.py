"""Assembles the ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp

from mosic import __version__
from mosic.boot import open_runtime
from mosic.logs import count_dropped_lines
from mosic.metrics import Metrics
from mosic.server.bodies import Bodies
from mosic.server.lifespan import Lifespan
from mosic.server.pieces import InPieces
from mosic.server.refusal import REPORT_REFUSAL
from mosic.server.stopping import told_to_stop
from mosic.settings import Settings
from mosic.web.asterisk import Asterisk
from mosic.web.auth import READERS, REFUSALS, check_listener
from mosic.web.cors import Cors
from mosic.web.delivery import Deliveries
from mosic.web.deps import RUNTIME
from mosic.web.described import TAGS, describe
from mosic.web.errors import install_error_responses, problems
from mosic.web.hosts import only_allowed_hosts, warn_of_any_host
from mosic.web.instrument import Instrument, RequestRecorder
from mosic.web.paths import PREFIX, OnePath
from mosic.web.private import Private
from mosic.web.routes import add, carried, ops, pages, play, played, stream, tus, waveform
from mosic.web.urls import prefix_of
from mosic.wire.problem import PREFIX_OF

_DESCRIPTION = """Upload, list, edit and stream audio.

Writes need an API key in the header `X-API-Key`. Every error is `application/problem+json` with a stable
`code`."""


def create_app(settings: Settings) -> ASGIApp:
    """The service as one ASGI application; its lifespan opens and closes everything it needs."""
    metrics = Metrics(cache_seconds=settings.metrics_cache_seconds)
    recorder = RequestRecorder(metrics, settings.forwarded_allow_ips)

    api = FastAPI(
        title="Mosic",
        version=__version__,
        description=_DESCRIPTION,
        openapi_tags=TAGS,
        redirect_slashes=False,
        openapi_url=None,  # see `mosic.web.routes.pages`
        separate_input_output_schemas=False,
        # What generated clients call their functions.
        generate_unique_id_function=lambda route: route.name,
    )
    install_error_responses(api)
    closed = settings.require_key_for_reads
    readers = READERS if closed else []
    # `upload`, `uploads` and `top` before `{clip_id}`: routes are tried in order.
    api.router.routes.extend((*stream.routes, *waveform.routes))
    api.include_router(tus.router)
    api.include_router(add.router)
    for reading in (played.router, carried.router, play.router):
        api.include_router(reading, dependencies=readers, responses=problems(*REFUSALS) if closed else {})
    api.include_router(ops.router)
    shown = pages.pages_router(api)
    api.include_router(shown)
    waveform.document_waveform(api, closed=closed)
    stream.document_stream(api, closed=closed)
    describe(api)
    api.state.all_routes = [
        route
        for router in (
            tus.router,
            add.router,
            played.router,
            carried.router,
            play.router,
            ops.router,
            shown,
            api.router,
        )
        for route in router.routes
        if isinstance(route, Route)
    ]

    @asynccontextmanager
    async def alive() -> AsyncIterator[Mapping[str, Any]]:
        count_dropped_lines(metrics.logs.dropped)
        async with (
            open_runtime(settings, metrics, sweeps=True) as runtime,
            told_to_stop(runtime.stopping, settings.shutdown_delay_seconds),
        ):
            warn_of_any_host(settings)
            yield {
                RUNTIME: runtime,
                REPORT_REFUSAL: recorder.record_refusal,
                PREFIX_OF: partial(prefix_of, settings),
            }

    def for_browsers_and_caches(app: ASGIApp) -> ASGIApp:
        if settings.cors_origins:
            app = Cors(app, settings.cors_origins)
        return Private(app, (PREFIX, *settings.alias_prefixes)) if closed else app

    routed = Asterisk(OnePath(tus.TusDialect(api), settings.alias_prefixes))
    others = Bodies(Instrument(InPieces(for_browsers_and_caches(routed)), recorder))
    streams = stream.StreamRoute(metrics.streams, settings.alias_prefixes, check_listener if closed else None)
    waveforms = waveform.WaveformRoute(settings.alias_prefixes, check_listener if closed else None)
    deliveries = Deliveries(others, (streams, waveforms), recorder)
    deliveries.deliver = for_browsers_and_caches(deliveries.deliver)
    return Lifespan(only_allowed_hosts(deliveries, settings, recorder), alive)
