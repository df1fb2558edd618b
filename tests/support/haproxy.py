"""A real HAProxy with a configuration of the test's own."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.ports import end, free_port, listening

# Where it is installed for root it is seldom on the PATH of others.
HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="needs haproxy")

_CONFIG = """\
global
    maxconn 100
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
frontend clients
    bind 127.0.0.1:{port}
{rules}
    default_backend service
backend service
    server one 127.0.0.1:{service}
"""


@asynccontextmanager
async def running_haproxy(folder: Path, service: int, *rules: str) -> AsyncIterator[int]:
    """In front of what listens on the port `service`, until the block ends; gives its own port."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "haproxy.cfg"
    lines = "\n".join(f"    {rule}" for rule in rules)
    config.write_text(_CONFIG.format(port=port, service=service, rules=lines))
    process = await asyncio.create_subprocess_exec(
        str(HAPROXY), "-f", str(config), "-db", "-q", stdin=asyncio.subprocess.DEVNULL
    )
    try:
        await listening(process, port)
        yield port
    finally:
        await end(process)
