"""The plays that are counted in the database."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class PlayMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._plays = Counter("mosic_plays", "Plays counted in the database.", registry=registry)
        self._late = Counter(
            "mosic_plays_late",
            "Plays that were written to the database only after their streams had begun.",
            registry=registry,
        )
        self._waiting = Gauge(
            "mosic_plays_waiting",
            "Plays not yet written to the database.",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def counted(self, count: int, *, late: bool = False) -> None:
        self._plays.inc(count)
        if late:
            self._late.inc(count)

    def waiting(self, count: int) -> None:
        self._waiting.set(count)
