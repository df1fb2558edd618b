"""`mosic serve`: start, say where it listens and how to upload, run until told to stop."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection

from mosic.cli.greeting import greet
from mosic.cli.setup import failures_in_the_log, set_up
from mosic.cli.workers import BEAT, BEAT_SECONDS, READY, STARTUP_FAILURE, Workers
from mosic.logs import log_what_nobody_catches, set_up_logs
from mosic.metrics.workers import folder_for_workers
from mosic.server.configuration import configuration, run_reloading
from mosic.server.listening import bind
from mosic.server.orderly import OrderlyServer, WorkerServer
from mosic.settings import Settings
from mosic.web.app import create_app

_DESCRIPTORS = 65_536


def serve(*, host: str | None, port: int | None, workers: int | None, reload: bool) -> None:
    """Run the service; returns after Ctrl-C or SIGTERM, once everything is closed.

    Raises `StartupError` when the settings are wrong and a person reads it; else, and for what fails later in
    the start, the log says why, and the process ends with a status other than 0.
    """
    with failures_in_the_log():
        settings = set_up(host=host, app_port=port, workers=workers)
        log_what_nobody_catches()
        _allow_descriptors()
        _serve(settings, reload=reload)


def _serve(settings: Settings, *, reload: bool) -> None:
    # Before anything is made or started that would have to be taken back.
    listening = bind(settings)
    port = listening[0].getsockname()[1]
    if reload:
        # The process that is started anew reads the settings itself.
        os.environ.pop("MOSIC_PORT", None)
        os.environ |= {"MOSIC_HOST": settings.host, "MOSIC_APP_PORT": str(settings.app_port)}
        config = configuration(settings, "mosic.web.app:app_from_environment", factory=True, reload=True)
        greet(settings, port)
        run_reloading(config, listening)
    elif settings.workers == 1:
        _serve_alone(settings, listening, port)
    else:
        _serve_together(settings, listening, port)


def _allow_descriptors() -> None:
    """Listeners and the files they hear take one each. The soft limit is often 1024, only for the sake of
    programs that use select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _serve_alone(settings: Settings, listening: list[socket.socket], port: int) -> None:
    _expect_hangup(settings)
    config = configuration(settings, create_app(settings))
    server = OrderlyServer(config, settings.shutdown_seconds, lambda _: greet(settings, port))
    with suppress(KeyboardInterrupt):
        server.run(sockets=listening)
    if not (server.started or server.told_to_stop):
        sys.exit(STARTUP_FAILURE)


def _expect_hangup(settings: Settings) -> None:
    """With a key file SIGHUP is for whoever reads it, and until somebody does for nobody. Without one it is a
    terminal that was closed, and ends the service in order; `nohup` is heeded."""
    if settings.api_keys_file is not None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda _number, _frame: os.kill(os.getpid(), signal.SIGTERM))


def _serve_together(settings: Settings, listening: list[socket.socket], port: int) -> None:
    workers = Workers(
        partial(_work, settings),
        settings.workers,
        listening,
        shutdown_seconds=settings.shutdown_seconds + settings.shutdown_delay_seconds,
        on_ready=lambda: greet(settings, port),
        # They read the key file again; without one it means the end, as for any program.
        hand_on_hangup=settings.api_keys_file is not None,
    )
    with folder_for_workers(settings.data_dir):
        status = workers.run()
    sys.exit(status)


def _work(settings: Settings, listening: list[socket.socket], line: Connection) -> None:
    """One worker process, until it is told to end or the process that started it is gone."""
    # A person's Ctrl-C and a terminal that is closed reach every process; the first of them passes it on.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Nothing here waits for the first process, should it not read.
    os.set_blocking(line.fileno(), False)
    set_up_logs(settings)
    log_what_nobody_catches()

    async def beat() -> None:
        with suppress(OSError):
            line.send_bytes(BEAT)

    def begin(server: OrderlyServer) -> None:
        def orphaned() -> None:
            asyncio.get_running_loop().remove_reader(line.fileno())
            os.kill(os.getpid(), signal.SIGTERM)

        asyncio.get_running_loop().add_reader(line.fileno(), orphaned)
        with suppress(OSError):
            line.send_bytes(READY)

    config = configuration(settings, create_app(settings), callback_notify=beat, timeout_notify=BEAT_SECONDS)
    server = WorkerServer(config, settings.shutdown_seconds, begin)
    server.run(sockets=listening)
    if not (server.started or server.told_to_stop):
        sys.exit(STARTUP_FAILURE)
