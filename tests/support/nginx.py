"""A real nginx with a configuration and a folder of its own, as whoever runs the tests."""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.ports import end, listening

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
        await listening(process, port, log.read_text)
        yield
    finally:
        await end(process)
    assert log.read_text() == ""
