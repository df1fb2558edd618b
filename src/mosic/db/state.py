"""What a process knows of how its database does: for the log, which has each reason once, and `/ready`."""

from __future__ import annotations

import time
from typing import Protocol

import structlog

from mosic.db.faults import Fault, said
from mosic.metrics.database import DatabaseMetrics

_log = structlog.get_logger("mosic.database")

# A state that was not met for so long is taken to be over.
_OVER_SECONDS = 10.0


class Observer(Protocol):
    """Gets what happens to transactions. Nothing here may wait."""

    def awaited(self, change: int) -> None:
        """1 when one begins to wait for a connection, -1 when it does no more."""

    def failed(self, fault: Fault, error: BaseException) -> None: ...

    def succeeded(self) -> None: ...


class Unobserved:
    """For work beside a service."""

    def awaited(self, change: int) -> None: ...

    def failed(self, fault: Fault, error: BaseException) -> None: ...

    def succeeded(self) -> None: ...


UNOBSERVED = Unobserved()


class DatabaseState:
    """One per process."""

    def __init__(self, metrics: DatabaseMetrics) -> None:
        self._metrics = metrics
        self._met: dict[str, tuple[float, Fault]] = {}
        self.awaited = metrics.connection_awaited

    def failed(self, fault: Fault, error: BaseException) -> None:
        """A line in the log when this is new, and none for as long as it goes on."""
        now = time.monotonic()
        self._metrics.failed(fault.reason)
        before = self._met.get(fault.reason)
        self._met[fault.reason] = (now, fault)
        if before is None or now - before[0] > _OVER_SECONDS:
            _log.warning("the database cannot do what was requested", reason=fault.reason, error=said(error))

    def succeeded(self) -> None:
        """What was met a while ago is over. What was met just now may still hold: reads succeed in a database
        that takes no changes."""
        if not self._met:
            return
        now = time.monotonic()
        for reason, (at, _) in list(self._met.items()):
            if now - at > _OVER_SECONDS:
                del self._met[reason]
                _log.info("the database works again", reason=reason)

    def hidden(self) -> list[Fault]:
        """The states that were met of late and that a look at the database does not show."""
        now = time.monotonic()
        return [fault for at, fault in self._met.values() if fault.hidden and now - at <= _OVER_SECONDS]
