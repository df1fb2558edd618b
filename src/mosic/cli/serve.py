"""`mosic serve`: start, say where it listens and how to upload, run until told to stop."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from contextlib import suppress

import uvicorn
from uvicorn.supervisors import ChangeReload, Multiprocess

from mosic.keys.open import load_keys
from mosic.logs import set_up_logs
from mosic.metrics.workers import folder_for_workers
from mosic.settings import Settings, load_settings
from mosic.web.app import create_app
from mosic.web.protocol import MosicProtocol

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
    single = settings.workers == 1 and not reload
    config = uvicorn.Config(
        create_app(settings) if single else "mosic.web.app:app_from_environment",
        factory=not single,
        host=settings.host,
        port=settings.app_port,
        workers=settings.workers,
        reload=reload,
        loop="uvloop",
        http=MosicProtocol,
        ws="none",
        log_config=None,
        # Instrument writes the one line per request.
        access_log=False,
        server_header=False,
        # mosic.web.urls reads what proxies say.
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_seconds)),
    )
    _run(config, settings)


def _allow_descriptors() -> None:
    """Listeners and the files they hear take one each. The soft limit is often 1024, only for the sake of
    programs that use select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Server(uvicorn.Server):
    """Greets once it listens, so that a line that can be pasted is also one that works."""

    def __init__(self, config: uvicorn.Config, settings: Settings) -> None:
        super().__init__(config)
        self._settings = settings

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            _greet(self._settings, self.servers[0].sockets[0].getsockname()[1])


class _Supervisor(Multiprocess):
    """Hands SIGHUP on to the workers, which then read the key file again, and interrupts nobody."""

    def __init__(self, config: uvicorn.Config, settings: Settings, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self._settings = settings

    def handle_hup(self) -> None:
        if self._settings.api_keys_file is None:
            super().handle_hup()  # one by one, they start anew
            return
        for worker in self.processes:
            # One that is starting does not listen to the signal yet, and has the file still to read.
            if worker.is_ready() and worker.pid is not None:
                os.kill(worker.pid, signal.SIGHUP)


def _run(config: uvicorn.Config, settings: Settings) -> None:
    if not config.should_reload and config.workers == 1:
        server = _Server(config, settings)
        # uvicorn raises the signal again once it has shut down in order, and an orderly end is a success.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        with suppress(KeyboardInterrupt):
            server.run()
        if not server.started:
            sys.exit(3)
        return
    listening = config.bind_socket()
    _greet(settings, listening.getsockname()[1])
    if config.should_reload:
        ChangeReload(config, target=uvicorn.Server(config).run, sockets=[listening]).run()
    else:
        with folder_for_workers():
            _Supervisor(config, settings, [listening]).run()


def _greet(settings: Settings, port: int) -> None:
    """A ready-to-paste upload line, for a person at a terminal."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    if settings.host in ("127.0.0.1", "0.0.0.0", "::", "::1"):  # noqa: S104
        host = "localhost"
    url = settings.public_url or f"http://{host}:{port}"
    if settings.makes_key:
        key, origin = load_keys(settings)[0].api_key, f"the API key is kept in {settings.made_key_file}"
    elif settings.api_key is not None:
        key, origin = "$MOSIC_API_KEY", "the API key is the one that was set"
    else:
        named = "MOSIC_API_KEYS" if settings.api_keys else settings.api_keys_file
        key, origin = "$KEY", f"the API keys are those of {named}"
    with_key = f'-H "X-API-Key: {key}" '
    lines = (
        f"Mosic listens on {url} ({origin}).",
        f"Upload:  curl {with_key}-F file=@song.mp3 {url}/play/upload",
        f"List:    curl {with_key if settings.require_key_for_reads else ''}{url}/play",
    )
    print(*lines, sep="\n", file=sys.stderr, flush=True)  # noqa: T201
