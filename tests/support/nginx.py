"""A real nginx with a configuration and a folder of its own, as whoever runs the tests."""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

# Where it is installed for root it is seldom on the PATH of others.
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="needs nginx")

_MAIN = """\
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/server.conf;
}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_config(folder: Path, server: str) -> Path:
    """`server` is what stands inside of `http { }`."""
    folder.mkdir(parents=True, exist_ok=True)
    # Started as root, the workers would be of an account that cannot look into the tests' folders.
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    (folder / "server.conf").write_text(server)
    main = folder / "nginx.conf"
    main.write_text(_MAIN.format(user=user, folder=folder))
    return main


@asynccontextmanager
async def running_nginx(folder: Path, server: str, port: int) -> AsyncIterator[None]:
    """Run until the block ends; `port` is the one that `server` listens on. What it logs is an error."""
    main = write_config(folder, server)
    log = folder / "error.log"
    process = await asyncio.create_subprocess_exec(
        str(NGINX), "-p", str(folder), "-c", str(main), "-e", str(log), stdin=asyncio.subprocess.DEVNULL
    )
    try:
        while not await listens(port):
            assert process.returncode is None, log.read_text()
            await asyncio.sleep(0.01)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert log.read_text() == ""


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
