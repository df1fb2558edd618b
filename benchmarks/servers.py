"""The servers that are measured, each a process of its own on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mosic.postgres import open_embedded

KEY = "bench-key"


@dataclass(frozen=True)
class Server:
    url: str
    pid: int
    folder: Path

    def cpu_seconds(self) -> float:
        """Processor time that the server and its descendants have used so far."""
        ticks = 0
        for pid in _family(self.pid):
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident(self) -> int:
        """Bytes of memory that the server and its descendants hold now."""
        total = 0
        for pid in _family(self.pid):
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
                total += int(found[1]) * 1024 if found else 0
        return total


def _family(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *(one for child in children for one in _family(int(child)))]
    return []


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@contextlib.contextmanager
def _process(
    arguments: list[str], folder: Path, environment: dict[str, str], url: str, ready: str
) -> Iterator[Server]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            env=os.environ | environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait(f"{url}{ready}", process, folder / "server.log")
        yield Server(url, process.pid, folder)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"the server ended:\n{log.read_text()}")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.05)
    raise RuntimeError(f"the server does not answer:\n{log.read_text()}")


@contextlib.contextmanager
def mosic(folder: Path, **settings: str) -> Iterator[Server]:
    """`mosic serve` on its embedded PostgreSQL, in a folder of its own."""
    port = free_port()
    environment = {
        "MOSIC_API_KEY": KEY,
        "MOSIC_APP_PORT": str(port),
        "MOSIC_MEDIA_ROOT": str(folder / "media"),
        "MOSIC_DATA_DIR": str(folder / "data"),
        "MOSIC_MAX_UPLOAD_MB": "4096",
        "MOSIC_LOG_LEVEL": "warning",
        **settings,
    }
    command = [sys.executable, "-m", "mosic", "serve"]
    with _process(command, folder, environment, f"http://127.0.0.1:{port}", "/ready") as server:
        yield server


_NGINX = """\
{user}
daemon off;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=10000 inactive=1h;
    keepalive_requests 100000000;
    types {{ audio/wav wav; }}
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, root: Path, workers: int = 1) -> Iterator[Server]:
    """nginx, set up to serve the files below `root` as quickly as it can."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise RuntimeError("needs nginx")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = folder / "nginx.conf"
    # As root, its workers would be of an account that cannot look into the benchmark's folder.
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    config.write_text(_NGINX.format(user=user, folder=folder, root=root, port=port, workers=workers))
    command = [program, "-c", str(config), "-e", str(folder / "error.log")]
    (root / "ready").touch()
    with _process(command, folder, {}, f"http://127.0.0.1:{port}", "/ready") as server:
        yield server


@contextlib.contextmanager
def baseline(folder: Path) -> Iterator[Server]:
    """The plain service, on a PostgreSQL like Mosic's."""
    top = str(Path(__file__).resolve().parents[1])
    postgres = asyncio.run(open_embedded(folder / "data"))
    port = free_port()
    songs = folder / "songs"
    songs.mkdir(parents=True, exist_ok=True)
    url = postgres.url
    try:
        environment = {
            "PYTHONPATH": top,
            "BASELINE_FOLDER": str(songs),
            "BASELINE_DATABASE_URL": (
                f"postgresql+asyncpg://{url.username}@/{url.database}?host={url.host}&port={url.port}"
            ),
        }
        command = [
            *(sys.executable, "-m", "uvicorn", "benchmarks.baseline:app", "--port", str(port)),
            *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
        ]
        with _process(command, folder, environment, f"http://127.0.0.1:{port}", "/openapi.json") as server:
            yield server
    finally:
        asyncio.run(postgres.close())
