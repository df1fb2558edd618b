"""`mosic serve`: start, say where it listens and how to upload, run until told to stop."""

from __future__ import annotations

import asyncio
import os
import resource
import shlex
import signal
import socket
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.supervisors import ChangeReload

from mosic.cli.server import OrderlyServer, WorkerServer
from mosic.cli.workers import BEAT, BEAT_SECONDS, READY, STARTUP_FAILURE, Workers
from mosic.keys.open import load_keys
from mosic.logs import set_up_logs, without_home
from mosic.metrics.workers import folder_for_workers
from mosic.settings import Settings, load_settings
from mosic.web.app import create_app
from mosic.web.protocol import protocol_for

_DESCRIPTORS = 65_536


def serve(*, host: str | None, port: int | None, workers: int | None, reload: bool) -> None:
    """Run the service; returns after Ctrl-C or SIGTERM, once everything is closed.

    Raises `StartupError` when the settings are wrong; what fails later in the start is logged, and ends the
    process with a status other than 0.
    """
    # Worker processes read the settings themselves, from the environment.
    for name, value in (("HOST", host), ("APP_PORT", port), ("WORKERS", workers)):
        if value is not None:
            os.environ[f"MOSIC_{name}"] = str(value)
    settings = load_settings()
    set_up_logs(settings)
    _allow_descriptors()
    if reload:
        config = _config(settings, "mosic.web.app:app_from_environment", factory=True, reload=True)
        listening = config.bind_socket()
        _greet(settings, listening.getsockname()[1])
        ChangeReload(config, target=uvicorn.Server(config).run, sockets=[listening]).run()
    elif settings.workers == 1:
        _serve_alone(settings)
    else:
        _serve_together(settings)


def _config(settings: Settings, app: Any, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.app_port,
        loop="uvloop",
        http=protocol_for(settings),
        ws="none",
        log_config=None,
        # Instrument writes the one line per request.
        access_log=False,
        server_header=False,
        # mosic.web.urls reads what proxies say.
        proxy_headers=False,
        timeout_keep_alive=30,
        **options,
    )


def _allow_descriptors() -> None:
    """Listeners and the files they hear take one each. The soft limit is often 1024, only for the sake of
    programs that use select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _serve_alone(settings: Settings) -> None:
    def greet(server: OrderlyServer) -> None:
        """Once it listens, so that a line that can be pasted is also one that works."""
        _greet(settings, server.servers[0].sockets[0].getsockname()[1])

    _expect_hangup(settings)
    server = OrderlyServer(_config(settings, create_app(settings)), settings.shutdown_seconds, greet)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def _expect_hangup(settings: Settings) -> None:
    """With a key file SIGHUP is for whoever reads it, and until somebody does for nobody. Without one it is a
    terminal that was closed, and ends the service in order; `nohup` is heeded."""
    if settings.api_keys_file is not None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda _number, _frame: os.kill(os.getpid(), signal.SIGTERM))


def _serve_together(settings: Settings) -> None:
    listening = _config(settings, "").bind_socket()
    port = listening.getsockname()[1]
    workers = Workers(
        _work,
        settings.workers,
        listening,
        shutdown_seconds=settings.shutdown_seconds + settings.shutdown_delay_seconds,
        on_ready=lambda: _greet(settings, port),
        # They read the key file again; without one it means the end, as for any program.
        hand_on_hangup=settings.api_keys_file is not None,
    )
    with folder_for_workers():
        status = workers.run()
    sys.exit(status)


def _work(listening: socket.socket, line: Connection) -> None:
    """One worker process, until it is told to end or the process that started it is gone."""
    # A person's Ctrl-C and a terminal that is closed reach every process; the first of them passes it on.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Nothing here waits for the first process, should it not read.
    os.set_blocking(line.fileno(), False)
    settings = load_settings()
    set_up_logs(settings)

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

    config = _config(settings, create_app(settings), callback_notify=beat, timeout_notify=BEAT_SECONDS)
    server = WorkerServer(config, settings.shutdown_seconds, begin)
    server.run(sockets=[listening])
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def _in_shell(path: Path) -> str:
    """The path as a shell reads it in whatever folder, without the name of the home folder."""
    text = without_home(str(path.absolute()))
    # A tilde within quotes is a tilde.
    return f"~/{shlex.quote(text[2:])}" if text.startswith("~/") else shlex.quote(text)


def _greet(settings: Settings, port: int) -> None:
    """A ready-to-paste upload line, for a person at a terminal."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    if settings.host in ("127.0.0.1", "0.0.0.0", "::", "::1"):  # noqa: S104
        host = "localhost"
    url = settings.public_url or f"http://{host}:{port}"
    if settings.makes_key:
        key, origin = load_keys(settings)[0].api_key, f"the API key is kept in {settings.made_key_file}"
        if not sys.stderr.isatty():
            # What is not read by a person now is kept somewhere, and read by others.
            key = f"$(cat {_in_shell(settings.made_key_file)})"
    elif settings.api_key is not None:
        key, origin = "$MOSIC_API_KEY", "the API key is the one that was set"
    else:
        named = filter(None, (settings.api_keys and "MOSIC_API_KEYS", settings.api_keys_file))
        key, origin = "$KEY", f"the API keys are those of {' and '.join(map(str, named))}"
    with_key = f'-H "X-API-Key: {key}" '
    lines = (
        f"Mosic listens on {url} ({origin}).",
        f"Upload:  curl {with_key}-F file=@song.mp3 {url}/play/upload",
        f"List:    curl {with_key if settings.require_key_for_reads else ''}{url}/play",
    )
    # In one go: whoever watches a log for the first line finds the others with it.
    print("\n".join(map(without_home, lines)), file=sys.stderr, flush=True)  # noqa: T201
