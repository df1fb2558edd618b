"""The door: serve an application on the host and port of the settings, by one process or several."""

from __future__ import annotations

import asyncio
import importlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection

from uvicorn.supervisors import ChangeReload

from mosic.logs import log_uncaught_errors, set_up_logs
from mosic.metrics.workers import folder_for_workers
from mosic.server.asgi import ASGIApp
from mosic.server.configuration import configuration
from mosic.server.listening import bind
from mosic.server.orderly import OrderlyServer, WorkerServer
from mosic.server.workers import BEAT, BEAT_SECONDS, READY, Workers
from mosic.settings import Settings

_DESCRIPTORS = 65_536

_Sockets = list[socket.socket]


def run(
    app_factory: str, settings: Settings, on_serving: Callable[[int], None], *, reload: bool = False
) -> int:
    """Serve until SIGTERM, SIGINT or SIGHUP, close everything, and return the exit status: 0, or 3 when the
    application did not start, and the log has the reason.

    `app_factory` is `module:function`; the function makes an application from the settings. Only processes
    that serve import it. `on_serving` gets the port once the service answers. With `reload` another process
    serves, which is started anew when the code changes; `on_serving` is then called before it answers.

    Raises `StartupError` when the host and port of the settings cannot be listened on.
    """
    _allow_descriptors()
    # Before anything is made or started that would have to be taken back.
    listening = bind(settings)
    port: int = listening[0].getsockname()[1]
    if reload:
        on_serving(port)
        return _run_reloading(app_factory, settings, listening)
    if settings.workers == 1:
        return _run_alone(app_factory, settings, listening, lambda: on_serving(port))
    return _run_together(app_factory, settings, listening, lambda: on_serving(port))


def _allow_descriptors() -> None:
    """Listeners and the files they hear take one each. The soft limit is often 1024, only for the sake of
    programs that use select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _made(app_factory: str, settings: Settings) -> ASGIApp:
    module, _, function = app_factory.partition(":")
    app: ASGIApp = getattr(importlib.import_module(module), function)(settings)
    return app


def _run_alone(
    app_factory: str, settings: Settings, listening: _Sockets, on_started: Callable[[], None]
) -> int:
    _expect_hangup(settings)
    config = configuration(settings, _made(app_factory, settings))
    server = OrderlyServer(config, settings.shutdown_seconds, on_started)
    with suppress(KeyboardInterrupt):
        server.run(sockets=listening)
    return server.status


def _expect_hangup(settings: Settings) -> None:
    """With a key file SIGHUP is for the reader of it, and is ignored until there is one. Without one it is a
    terminal that was closed, and ends the service in order; `nohup` is heeded."""
    if settings.api_keys_file is not None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda _number, _frame: os.kill(os.getpid(), signal.SIGTERM))


def _run_reloading(app_factory: str, settings: Settings, listening: _Sockets) -> int:
    # Only what it says about reloading is used: the process that it starts makes a configuration of its own.
    config = configuration(settings, app_factory, reload=True)
    ChangeReload(config, target=partial(_serve_anew, app_factory, settings), sockets=listening).run()
    return 0


def _serve_anew(app_factory: str, settings: Settings, sockets: _Sockets) -> None:
    """The process that runs until the code changes."""
    set_up_logs(settings)
    log_uncaught_errors()
    config = configuration(settings, _made(app_factory, settings))
    OrderlyServer(config, settings.shutdown_seconds).run(sockets=sockets)


def _run_together(
    app_factory: str, settings: Settings, listening: _Sockets, on_ready: Callable[[], None]
) -> int:
    workers = Workers(
        partial(_work, app_factory, settings),
        settings.workers,
        listening,
        shutdown_seconds=settings.shutdown_seconds + settings.shutdown_delay_seconds,
        on_ready=on_ready,
        # They read the key file again; without one it means the end, as for any program.
        pass_on_hangup=settings.api_keys_file is not None,
    )
    with folder_for_workers(settings.data_dir):
        return workers.run()


def _work(app_factory: str, settings: Settings, listening: _Sockets, supervisor: Connection) -> None:
    """One worker process, until it has to end or the process that started it is gone."""
    # A person's Ctrl-C and a terminal that is closed reach every process; the first of them passes it on.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Nothing here waits for the first process, should it not read.
    os.set_blocking(supervisor.fileno(), False)
    set_up_logs(settings)
    log_uncaught_errors()

    def send(word: bytes) -> None:
        with suppress(OSError):
            supervisor.send_bytes(word)

    async def beat() -> None:
        send(BEAT)

    def on_started() -> None:
        loop = asyncio.get_running_loop()

        def orphaned() -> None:
            loop.remove_reader(supervisor.fileno())
            os.kill(os.getpid(), signal.SIGTERM)

        loop.add_reader(supervisor.fileno(), orphaned)
        send(READY)

    app = _made(app_factory, settings)
    config = configuration(settings, app, callback_notify=beat, timeout_notify=BEAT_SECONDS)
    server = WorkerServer(config, settings.shutdown_seconds, on_started)
    server.run(sockets=listening)
    sys.exit(server.status)
