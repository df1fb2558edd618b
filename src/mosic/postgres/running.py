"""Bring one cluster to the point where its server answers: adopt the one that runs, or start it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from mosic.errors import StartupError
from mosic.postgres.account import find_programs
from mosic.postgres.cluster import USER, Cluster
from mosic.postgres.listening import PORT

DATABASE = "mosic"
# Recovery after a crash replays up to max_wal_size of log, on a slow disk for minutes.
READY_SECONDS = 300
# A server that is being killed or just being started by another process gets this long.
UNREACHABLE_SECONDS = 15
POLL_SECONDS = 0.01
_NOBODY_LISTENS = (FileNotFoundError, ConnectionRefusedError)
# What a start fails with while children of a killed server still end, or another start was faster.
_PASSING = ("pre-existing shared memory block", 'lock file "postmaster.pid"')


async def get_running(cluster: Cluster, postgres_bin: Path | None) -> Path:
    """Return the folder of the socket once the server answers; start it when there is none.

    The caller sees to it that it is the only one who does this. Raises `StartupError` with the reason.
    """
    process: subprocess.Popen[bytes] | None = None
    since = time.monotonic()
    while isinstance(answer := await _greet(cluster), Exception):
        waited = time.monotonic() - since
        over = process is None or process.poll() is not None
        gone = over and isinstance(answer, _NOBODY_LISTENS)
        patient = not over or isinstance(answer, asyncpg.CannotConnectNowError)
        expired = waited > (READY_SECONDS if patient else UNREACHABLE_SECONDS)
        if gone and process is not None:
            said = await asyncio.to_thread(cluster.last_words)
            if expired or not any(words in said for words in _PASSING):
                raise StartupError(
                    f"MOSIC_DATA_DIR: PostgreSQL does not start in {cluster.folder}. It says:\n{said}\n"
                    f"(log: {cluster.log})"
                )
        if expired:
            raise StartupError(
                f"MOSIC_DATA_DIR: the database in {cluster.folder} does not answer: {answer} "
                f"(log: {cluster.log})"
            )
        if gone and await asyncio.to_thread(cluster.serving_pid) is None:
            started = await asyncio.to_thread(_start, cluster, postgres_bin)
            if process is None:
                since = time.monotonic()
            process = started
        # A server in recovery logs each refusal: ask more rarely the longer it takes.
        await asyncio.sleep(min(max(POLL_SECONDS, waited / 10), 1))
    return answer


def _start(cluster: Cluster, postgres_bin: Path | None) -> subprocess.Popen[bytes]:
    try:
        return cluster.start(find_programs(cluster.home, cluster.account, postgres_bin))
    except OSError as error:
        raise StartupError(
            f"MOSIC_DATA_DIR: PostgreSQL cannot be started in {cluster.home}: {error} (log: {cluster.log})"
        ) from error


async def _greet(cluster: Cluster) -> Path | Exception:
    """Make sure that our server answers and has our database. Return its socket folder, or what is wrong."""
    try:
        folder = await asyncio.to_thread(cluster.socket.find)
        connection = await connect(folder)
        try:
            served = await connection.fetchval("SHOW data_directory")
            if served.encode() != os.fsencode(cluster.folder):
                raise StartupError(
                    f"MOSIC_DATA_DIR: the server that listens in {folder} serves {served}, not "
                    f"{cluster.folder} (was the folder moved?): stop that server first."
                )
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()
    except PermissionError as error:
        raise StartupError(
            f"MOSIC_DATA_DIR: this user may not use the database in {cluster.home} ({error.strerror})."
        ) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return error
    return folder


async def connect(socket_folder: Path) -> asyncpg.Connection[asyncpg.Record]:
    """A connection that nothing in the environment (PG*, ~/.pgpass) can lead elsewhere."""
    return await asyncpg.connect(
        host=str(socket_folder),
        port=PORT,
        user=USER,
        password="",
        database="postgres",
        timeout=10,
        ssl=False,
        direct_tls=False,
        target_session_attrs=SessionAttribute.any,
        gsslib="gssapi",
    )
