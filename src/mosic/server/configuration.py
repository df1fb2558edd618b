"""How uvicorn is set up."""

from __future__ import annotations

from functools import partial
from typing import Any

import uvicorn

from mosic.server.protocol import MosicProtocol
from mosic.settings import Settings


def configuration(settings: Settings, app: Any, **options: Any) -> uvicorn.Config:
    """For a server that runs `app`; `options` win over what the settings say."""
    return uvicorn.Config(
        app,
        **{
            "host": settings.host,
            "port": settings.app_port,
            "loop": "uvloop",
            # A partial, because it has to be pickled for the processes of `--reload`.
            "http": partial(MosicProtocol, patience=settings.answer_idle_seconds, timings=settings.timings),
            "ws": "none",
            "log_config": None,
            # Instrument writes the one line per request.
            "access_log": False,
            "server_header": False,
            # mosic.web.proxies reads what proxies say.
            "proxy_headers": False,
            "timeout_keep_alive": settings.keep_alive_seconds,
            **options,
        },
    )
