"""PgBouncer in front of a server of the tests."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.support.ports import free_port, listening

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")

needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="needs pgbouncer")


@asynccontextmanager
async def pgbouncer(server: URL, folder: Path, **settings: object) -> AsyncIterator[str]:
    """The URL of the same database through a PgBouncer with its default configuration, but for where it
    listens, whom it lets in, and the given settings."""
    assert PGBOUNCER is not None
    folder.mkdir()
    port = free_port()
    (folder / "users.txt").write_text(f'"{server.username}" ""\n')
    given = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "trust",
        "auth_file": folder / "users.txt",
        "logfile": folder / "log",
        **settings,
    }
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={server.host} port={server.port}\n[pgbouncer]\n"
        + "".join(f"{name} = {value}\n" for name, value in given.items())
    )
    # It does not run as root, and the server's socket is for its owner.
    owner = Path(f"{server.host}/.s.PGSQL.{server.port}").stat().st_uid
    as_whom = [] if os.geteuid() == owner else ["-u", pwd.getpwuid(owner).pw_name]
    for path in (folder, *folder.iterdir()):
        if as_whom:
            os.chown(path, owner, -1)
    process = await asyncio.create_subprocess_exec(
        PGBOUNCER, "-q", *as_whom, folder / "pgbouncer.ini", stdin=asyncio.subprocess.DEVNULL
    )
    try:
        await listening(process, port, (folder / "log").read_text)
        yield f"postgresql://{server.username}@127.0.0.1:{port}/{server.database}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
