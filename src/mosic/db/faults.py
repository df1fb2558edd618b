"""What the database cannot do for now, told apart from faults of the code: by SQLSTATE (PostgreSQL manual,
appendix A), and by what the driver raises. docs/decisions/0022-database.md has the reasons."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a request is answered 503. `reason` is stable: the log, `/ready` and the metrics have it."""

    reason: str
    sentence: str
    hidden: bool = False
    """A state of the database that lasts, and that a look at it does not show."""

    lost: bool = False
    """The connection is of no more use: another one may lead to a server that can."""


UNREACHABLE = Fault("unreachable", "The database cannot be reached.", lost=True)
BUSY = Fault("busy", "All connections to the database are in use.")
_READ_ONLY = Fault("read-only", "The database is read-only.", lost=True)
_TIMEOUT = Fault("timeout", "The database took too long.")
_CONFLICT = Fault("conflict", "Other changes in the database interfered.")
_CHANGED = Fault("conflict", "The tables changed while Mosic used them.", lost=True)
_CONNECTIONS = Fault("too-many-connections", "The database accepts no more connections.", hidden=True)
_DISK = Fault("out-of-disk", "The disk of the database is full.", hidden=True)
_RESOURCES = Fault("out-of-resources", "The database lacks memory or another resource.", hidden=True)
_STOPPING = Fault("shutting-down", "The database is shutting down.", lost=True)
_STARTING = Fault("starting", "The database is starting up.", lost=True)
_REFUSED = Fault("refused", "The database does not permit Mosic to do this.", hidden=True)
_SCHEMA = Fault("schema", "The tables in the database are not those of this version.", hidden=True)
_TROUBLE = Fault("broken", "The database has an error of its own.", hidden=True)
_POOLER = Fault(
    "pooler", "A pooler in front of the database shares sessions between clients.", hidden=True, lost=True
)

# By the first characters of the SQLSTATE; the longest match counts. What is not here is a fault of the code
# (a wrong statement, a value that does not fit), and an internal error.
_BY_SQLSTATE = {
    "08": UNREACHABLE,
    "25006": _READ_ONLY,
    "25P03": _TIMEOUT,  # the transaction stood idle for too long
    "25P04": _TIMEOUT,  # the transaction took too long
    "26000": _POOLER,  # a prepared statement is not there: it was made in another session
    "42P05": _POOLER,  # a prepared statement is there already: it was made by another client
    "28": _REFUSED,
    "3D000": _REFUSED,
    "42501": _REFUSED,
    "3F000": _SCHEMA,
    "42703": _SCHEMA,
    "42883": _SCHEMA,
    "42P01": _SCHEMA,
    "40": _CONFLICT,
    "53": _RESOURCES,
    "53100": _DISK,
    "53300": _CONNECTIONS,
    "55": _STARTING,  # not in the state that is needed, such as a database that takes no connections
    "55P03": _TIMEOUT,  # a lock was not to be had in time
    "57": _STOPPING,
    "57014": _TIMEOUT,  # cancelled: by statement_timeout, or by somebody
    "57P03": _STARTING,
    "57P05": _TIMEOUT,  # the session stood idle for too long
    "58": _TROUBLE,
    "72": _CONFLICT,  # the snapshot is too old
    "XX": _TROUBLE,
}
_LENGTHS = sorted({len(prefix) for prefix in _BY_SQLSTATE}, reverse=True)
# The driver's own words for a connection that broke under a statement, or was broken before.
_CLIENT = (asyncpg.InterfaceError, asyncpg.InternalClientError)
DRIVER_ERRORS = (asyncpg.PostgresError, *_CLIENT, OSError)
"""All that a statement or a connection of the driver raises."""

_NETWORK = (ConnectionError, TimeoutError, ssl.SSLError)


def fault_of(error: BaseException, *, connecting: bool = False) -> Fault | None:
    """None for what is no trouble of the database. While `connecting` every `OSError` is one."""
    if isinstance(error, PoolTimeout):
        return BUSY
    if isinstance(error, DBAPIError):
        origin = error.orig.__cause__ if error.orig is not None else None
        found = fault_of(origin or error.orig, connecting=connecting) if error.orig is not None else None
        return found or (UNREACHABLE if error.connection_invalidated else None)
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return _CHANGED
    if isinstance(error, asyncpg.ConnectionDoesNotExistError) and error.__cause__ is not None:
        # What the server said before it hung up.
        return fault_of(error.__cause__, connecting=True) or UNREACHABLE
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str):
        return _by_sqlstate(sqlstate)
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return _READ_ONLY
    if isinstance(error, _CLIENT):
        # A value that does not fit is a ValueError too, and no trouble of the database.
        return None if isinstance(error, ValueError) and not connecting else UNREACHABLE
    if isinstance(error, OSError if connecting else _NETWORK):
        return UNREACHABLE
    return None


def _by_sqlstate(sqlstate: str) -> Fault | None:
    for length in _LENGTHS:
        if (fault := _BY_SQLSTATE.get(sqlstate[:length])) is not None:
            return fault
    return None


def said(error: BaseException) -> str:
    """What to log of it: the words of the server or the driver, in one line, without the statement."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig.__cause__ or error.orig
    if isinstance(error, PoolTimeout):
        return "no connection of the pool became free in time"
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:300]
