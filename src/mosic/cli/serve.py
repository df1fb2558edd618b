"""`mosic serve`: start, print the URL and how to upload, run until stopped."""

from __future__ import annotations

import sys
from functools import partial

from mosic.cli.greeting import greet
from mosic.cli.setup import failures_in_the_log, set_up
from mosic.logs import log_uncaught_errors
from mosic.server.run import run

APPLICATION = "mosic.web.app:create_app"
"""By name: only the processes that answer requests import it."""


def serve(*, host: str | None, port: int | None, workers: int | None, reload: bool) -> None:
    """Run the service; returns after Ctrl-C or SIGTERM, once everything is closed.

    Raises `StartupError` when the settings are wrong and a person reads it; else, and for what fails later in
    the start, the log says why, and the process ends with a status other than 0.
    """
    with failures_in_the_log():
        settings = set_up(host=host, app_port=port, workers=workers)
        log_uncaught_errors()
        if status := run(APPLICATION, settings, partial(greet, settings), reload=reload):
            sys.exit(status)
