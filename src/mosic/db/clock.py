"""The database's clock, which several rules about times go by, where that of this machine is far from it."""

from __future__ import annotations

import time
from uuid import UUID

import structlog
import uuid_utils.compat

_log = structlog.get_logger("mosic.clock")

# What clocks that are kept differ by is far less, and what a look at the database takes too.
_FAR_SECONDS = 60.0
_now = time.time


class DatabaseClock:
    """One per process. Goes by this machine's clock until it is seen to be far from the database's."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def compare(self, database_time: float) -> None:
        """To be called with the time that the database has just said (Unix time)."""
        ahead = database_time - _now()
        if abs(ahead - self._ahead) < _FAR_SECONDS:
            return
        if abs(ahead) < _FAR_SECONDS:
            _log.info("the clock of this machine agrees with the database's again")
            self._ahead = 0.0
            return
        self._ahead = ahead
        _log.warning(
            "the clock of this machine is far from the database's; the database's is used",
            behind_seconds=round(ahead),
        )

    def time(self) -> float:
        """Unix time, in seconds."""
        return _now() + self._ahead

    def uuid7(self) -> UUID:
        """A new id whose time is that of the database (RFC 9562 §5.7)."""
        if not self._ahead:
            return uuid_utils.compat.uuid7()
        return uuid_utils.compat.uuid7(nanoseconds=int(self.time() * 1_000_000_000))
