"""A connection of the driver, as the URL asks for it and bounded in time; libpq's parameters in asyncpg's
words. docs/decisions/0022-database.md has the reasons."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import asyncpg
from asyncpg.connect_utils import SessionAttribute
from sqlalchemy import URL

from mosic.db.clock import DatabaseClock
from mosic.errors import StartupError

CONNECT_SECONDS = 5.0
"""For each host, with all that a new connection needs, where the URL has no `connect_timeout`."""

CLOSE_SECONDS = 1.0
"""What a connection that is closed may take to say so; then it is cut."""

# A host that did not answer is asked last for so long.
_AVOIDED_SECONDS = 30.0
# Unacknowledged bytes, and a silent peer, end a connection after about so long (Linux).
_PEER_SECONDS = 6
# That many seconds later than the server's own limit, the server is taken for gone.
_GRACE_SECONDS = 2.0
# Not for another host to answer: the password is wrong, or there is no such database.
_FINAL_CLASSES = ("28", "3D")
_TLS_FILES = ("sslcert", "sslkey", "sslcrl", "sslrootcert")
_TLS = (*_TLS_FILES, "sslmode", "sslnegotiation", "sslpassword")
_TLS_VERSIONS = ("ssl_min_protocol_version", "ssl_max_protocol_version")

# Settings of the session, made with a statement: poolers refuse most of them as parameters of the start.
# Several statements of Mosic's rely on a snapshot of their own, whatever the database's default. What the
# operator has set for the role or the database stays. The server learns within two minutes that this machine
# is gone, and with it the locks of its sessions.
_SESSION = """
SELECT set_config('default_transaction_isolation', 'read committed', false),
       CASE current_setting('statement_timeout') WHEN '0'
            THEN set_config('statement_timeout', '{statement}', false) END,
       CASE current_setting('idle_in_transaction_session_timeout') WHEN '0'
            THEN set_config('idle_in_transaction_session_timeout', '{idle}', false) END,
       set_config('tcp_keepalives_idle', '60', false), set_config('tcp_keepalives_interval', '15', false),
       set_config('tcp_keepalives_count', '4', false),
       extract(epoch FROM clock_timestamp())::float8 AS now
"""
_SHARED_SESSION = "SELECT extract(epoch FROM clock_timestamp())::float8 AS now"


if TYPE_CHECKING:
    _Driver = asyncpg.Connection[asyncpg.Record]
else:
    _Driver = asyncpg.Connection


class Connection(_Driver):
    """Closes within seconds, whatever the network does."""

    connector: Connector | None = None
    opened_at = 0.0
    shares_session = False
    """Two statements may reach two sessions, unless they are in one transaction."""

    _setting_up: Any = None

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 – the driver's own
        if self.connector is not None and self.opened_at <= self.connector.doubted_at:
            self.terminate()
        else:
            await super().close(timeout=min(timeout or CLOSE_SECONDS, CLOSE_SECONDS))

    async def begin_setting_up(self) -> None:
        self._setting_up = self.transaction()
        await self._setting_up.start()

    async def end_setting_up(self) -> None:
        if self._setting_up is not None:
            transaction, self._setting_up = self._setting_up, None
            await transaction.commit()


class Connector:
    """Makes the connections of one pool: what SQLAlchemy calls an `async_creator`."""

    def __init__(
        self, url: URL, *, statement_seconds: float | None = None, clock: DatabaseClock | None = None
    ) -> None:
        """`statement_seconds` bounds each statement; without it one may take as long as it likes."""
        query = {name: str(value) for name, value in url.query.items()}
        self._hosts = _hosts(url, query)
        self._statement_seconds = statement_seconds
        self._clock = clock
        self._seconds = float(query.get("connect_timeout", 0))
        self._seconds = max(self._seconds, 2.0) if self._seconds > 0 else CONNECT_SECONDS
        self._query = query
        self._arguments = _arguments(url, query)
        self._failed_at: dict[tuple[str, int], float] = {}
        self._open: weakref.WeakSet[Connection] = weakref.WeakSet()
        self.said_to_share = query.get("pgbouncer", "").lower() in ("true", "1", "on", "yes")
        """Whether the URL says that sessions are shared."""

        self.shares_sessions = self.said_to_share
        self.doubted_at = -1.0

    @property
    def unnamed(self) -> bool:
        """Whether no prepared statement may have a name."""
        return self.shares_sessions or self._query.get("statement_cache_size") == "0"

    async def __call__(self, *_: Any, **__: Any) -> Connection:
        """A connection that was seen to answer. Raises what the last host that was tried has failed with."""
        last: BaseException | None = None
        for host in self._in_order():
            try:
                async with asyncio.timeout(self._seconds):
                    connection = await self._connect(*host)
            except (
                OSError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                asyncpg.InternalClientError,
            ) as error:
                if str(getattr(error, "sqlstate", "")).startswith(_FINAL_CLASSES):
                    raise
                self._failed_at[host] = time.monotonic()
                last = error
            else:
                self._failed_at.pop(host, None)
                self._open.add(connection)
                return connection
        assert last is not None
        raise last

    def doubt(self) -> None:
        """The network or the server has failed: what was opened before is not waited for any more."""
        self.doubted_at = time.monotonic()

    def terminate(self) -> None:
        """Cut every connection that is still open."""
        for connection in list(self._open):
            connection.terminate()

    def _in_order(self) -> list[tuple[str, int]]:
        hosts = list(self._hosts)
        if self._query.get("load_balance_hosts") == "random":
            random.shuffle(hosts)
        avoided = time.monotonic() - _AVOIDED_SECONDS
        return sorted(hosts, key=lambda host: self._failed_at.get(host, avoided) > avoided)

    async def _connect(self, host: str, port: int) -> Connection:
        local = host.startswith("/")
        arguments = dict(self._arguments)
        if local and not arguments["password"]:
            # Through a unix socket the server knows who is there. Without this asyncpg would look for a
            # password file at each connection, on the event loop.
            arguments["password"] = ""
        if self.unnamed:
            arguments["statement_cache_size"] = 0
        if self._statement_seconds is not None:
            arguments["command_timeout"] = self._statement_seconds + _GRACE_SECONDS
        connection: Connection = await asyncpg.connect(
            host=host, port=port, connection_class=Connection, timeout=self._seconds, **arguments
        )
        try:
            connection.connector, connection.opened_at = self, time.monotonic()
            connection.shares_session = self.unnamed
            if not local:
                _watch_peer(connection, self._query)
            if self.unnamed:
                # Until SQLAlchemy has asked what it asks of each new connection.
                await connection.begin_setting_up()
            row = await connection.fetchrow(self._opening())
            if self._clock is not None and row is not None:
                self._clock.compare(row["now"])
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _opening(self) -> str:
        if self.shares_sessions:
            return _SHARED_SESSION
        limit = self._statement_seconds
        statement = f"{limit * 1000:.0f}ms" if limit is not None else "0"
        return _SESSION.format(statement=statement, idle="60s" if limit is not None else "0")


def _hosts(url: URL, query: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    if "host" not in query:
        return ((url.host or "localhost", url.port or 5432),)
    hosts = query["host"].split(",")
    ports = query.get("port", str(url.port or 5432)).split(",")
    ports *= len(hosts) if len(ports) == 1 else 1
    return tuple((host or "localhost", int(port or 5432)) for host, port in zip(hosts, ports, strict=True))


def _arguments(url: URL, query: Mapping[str, str]) -> dict[str, Any]:
    """Those of `asyncpg.connect` that are the same for every host."""
    name = query.get("application_name") or query.get("fallback_application_name") or "mosic"
    settings = {"application_name": name, "TimeZone": "UTC"}
    if options := query.get("options"):
        settings["options"] = options
    arguments: dict[str, Any] = {
        "user": url.username,
        "password": url.password or None,
        "database": url.database,
        "server_settings": settings,
        "target_session_attrs": SessionAttribute(query.get("target_session_attrs", "any")),
        **{given: query[given] for given in ("passfile", "krbsrvname", "gsslib") if given in query},
    }
    if query.get("sslrootcert") == "system":
        arguments["ssl"] = True
        arguments["direct_tls"] = query.get("sslnegotiation") == "direct"
    elif mode := query.get("sslmode"):
        arguments["ssl"] = mode
    if "ssl" in query and "sslmode" not in query:
        arguments["ssl"] = query["ssl"]
    if "direct_tls" in query:
        arguments["direct_tls"] = bool(query["direct_tls"])
    files = {given: query[given] for given in (*_TLS, *_TLS_VERSIONS) if given in query}
    if files and arguments.get("ssl") is not True:
        # The driver takes these in a URL only.
        arguments["dsn"] = f"postgresql://?{urlencode(files)}"
    return arguments


def _watch_peer(connection: Connection, query: Mapping[str, str]) -> None:
    """Let the kernel find out that the other side is gone, also while nothing is to be sent."""
    peer = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]
    if peer is None or query.get("keepalives") == "0":
        return
    idle = int(query.get("keepalives_idle", 0)) or _PEER_SECONDS
    options = {
        "TCP_KEEPIDLE": idle,
        "TCP_KEEPALIVE": idle,  # macOS
        "TCP_KEEPINTVL": int(query.get("keepalives_interval", 0)) or 2,
        "TCP_KEEPCNT": int(query.get("keepalives_count", 0)) or 3,
        "TCP_USER_TIMEOUT": int(query.get("tcp_user_timeout", 0)) or _PEER_SECONDS * 1000,
    }
    with suppress(OSError):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():
            if hasattr(socket, name):
                peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def shown(url: URL) -> str:
    """The database for a message: hosts, ports and name, and nothing else that its URL has."""
    hosts = ",".join(
        f"{host}:{port}" for host, port in _hosts(url, {n: str(v) for n, v in url.query.items()})
    )
    return f"{hosts}/{url.database or ''}"


def check_files(url: URL) -> None:
    """Raises `StartupError` for a file that the URL needs and that cannot be read, naming its parameter."""
    for name in _TLS_FILES:
        value = str(url.query.get(name, ""))
        if value and value != "system" and not os.access(value, os.R_OK):
            raise StartupError(f"The database URL names a file that cannot be read: {name}={value}")
    mode = str(url.query.get("sslmode", ""))
    if mode not in ("verify-ca", "verify-full") or "sslrootcert" in url.query:
        return
    with suppress(RuntimeError):  # an account without a home folder
        if os.environ.get("PGSSLROOTCERT") or (Path.home() / ".postgresql/root.crt").exists():
            return
    raise StartupError(
        f"sslmode={mode} needs the certificates to trust: add sslrootcert=FILE to the database URL, or "
        "sslrootcert=system for those that this machine trusts."
    )
