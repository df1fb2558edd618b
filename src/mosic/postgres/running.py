"""Wait until the server of a cluster responds: use the running one, or start it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path

import asyncpg
import structlog
from asyncpg.connect_utils import SessionAttribute

from mosic.errors import StartupError
from mosic.postgres.account import find_programs
from mosic.postgres.cluster import USER, Cluster
from mosic.postgres.listening import PORT

DATABASE = "mosic"
# Recovery after a crash replays up to max_wal_size of log, on a slow disk for minutes.
READY_SECONDS = 300
# For a server that is being killed, or started by another process.
UNREACHABLE_SECONDS = 15
POLL_SECONDS = 0.01
_NOBODY_LISTENS = (FileNotFoundError, ConnectionRefusedError)
# asyncpg raises InternalClientError when a connection ends during a query.
NO_RESPONSE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# Starting up, shutting down, crashing, no free connection: all temporary.
_TEMPORARY = (
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresConnectionError,
    asyncpg.TooManyConnectionsError,
)
# A start fails with these while children of a killed server still end, or if another start was faster. A
# server that a signal ended is tried again as well.
_PASSING = ("pre-existing shared memory block", 'lock file "postmaster.pid"')

_log = structlog.get_logger("mosic.postgres")


async def get_running(cluster: Cluster, postgres_bin: Path | None) -> Path:
    """Return the folder of the socket once the server responds; start it when there is none.

    Only one caller at a time may do this. Raises `StartupError` with the reason.
    """
    process: subprocess.Popen[bytes] | None = None
    since = time.monotonic()
    while isinstance(answer := await _check_server(cluster), Exception):
        waited = time.monotonic() - since
        over = process is None or process.poll() is not None
        nobody = isinstance(answer, _NOBODY_LISTENS)
        gone = over and nobody
        patient = isinstance(answer, asyncpg.CannotConnectNowError) or (nobody and not over)
        expired = waited > (READY_SECONDS if patient else UNREACHABLE_SECONDS)
        if gone and process is not None:
            said = await asyncio.to_thread(cluster.last_log_lines)
            passing = process.returncode < 0 or any(words in said for words in _PASSING)
            if expired or not passing:
                raise StartupError(
                    f"MOSIC_DATA_DIR: PostgreSQL does not start in {cluster.folder}. It says:\n{said}\n"
                    f"{await _hints(cluster)}"
                )
        refused = isinstance(answer, asyncpg.PostgresError) and not isinstance(answer, _TEMPORARY)
        if expired or refused:
            raise StartupError(
                f"MOSIC_DATA_DIR: the database in {cluster.folder} does not respond as expected: "
                f"{str(answer) or 'no response in time'} {await _hints(cluster)}"
            )
        if gone and await asyncio.to_thread(cluster.serving_pid) is None:
            started = await asyncio.to_thread(_start, cluster, postgres_bin)
            if process is None:
                since = time.monotonic()
            process = started
        # A server in recovery logs each refusal: try less often the longer it takes.
        await asyncio.sleep(min(max(POLL_SECONDS, waited / 10), 1))
    return answer


async def _hints(cluster: Cluster) -> str:
    return f"(log: {cluster.log}{await asyncio.to_thread(cluster.shortage)})"


def _start(cluster: Cluster, postgres_bin: Path | None) -> subprocess.Popen[bytes]:
    try:
        return cluster.start(find_programs(cluster.home, cluster.account, postgres_bin))
    except OSError as error:
        raise StartupError(
            f"MOSIC_DATA_DIR: PostgreSQL cannot be started in {cluster.home}: {error} (log: {cluster.log})"
        ) from error


async def _check_server(cluster: Cluster) -> Path | Exception:
    """Check that our server responds and has our database. Return its socket folder, or the error."""
    try:
        folder = await asyncio.to_thread(cluster.socket.find)
        connection = await connect(folder)
        try:
            served = await connection.fetchval("SHOW data_directory")
            if served.encode() != os.fsencode(cluster.folder):
                await _stop_moved_server(cluster, served)
                return FileNotFoundError("the server was stopped")
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close(timeout=10)
    except PermissionError as error:
        raise StartupError(
            f"MOSIC_DATA_DIR: this user may not use the database in {cluster.home} ({error.strerror})."
        ) from error
    except NO_RESPONSE as error:
        return error
    return folder


async def _stop_moved_server(cluster: Cluster, served: str) -> None:
    """Stop a server whose folder was moved: it cannot write a checkpoint there. Refuse an unknown one."""
    if await asyncio.to_thread(cluster.serving_pid) is None:
        raise StartupError(
            f"MOSIC_DATA_DIR: the server that responds in {cluster.home} serves {served}, not "
            f"{cluster.folder}: stop that server first."
        )
    _log.warning(
        "the folder was moved while PostgreSQL was running there; PostgreSQL restarts", before=served
    )
    await asyncio.to_thread(cluster.stop)


async def connect(socket_folder: Path) -> asyncpg.Connection[asyncpg.Record]:
    """A connection that ignores the environment (PG*, ~/.pgpass)."""
    return await asyncpg.connect(
        host=str(socket_folder),
        port=PORT,
        user=USER,
        password="",
        database="postgres",
        timeout=10,
        command_timeout=READY_SECONDS,
        ssl=False,
        direct_tls=False,
        target_session_attrs=SessionAttribute.any,
        gsslib="gssapi",
    )
