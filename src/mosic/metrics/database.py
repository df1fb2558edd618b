"""The connections to the database."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class DatabaseMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._connections = Gauge(
            "mosic_database_connections_in_use",
            "Connections of the pool that are in use.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._most_connections = Gauge(
            "mosic_database_connections_max",
            "Connections that the pool may open.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._waiting = Gauge(
            "mosic_database_waiting",
            "Transactions that wait for a connection.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._faults = Counter(
            "mosic_database_faults_total",
            "Temporary failures of the database, by reason.",
            ["reason"],
            registry=registry,
        )
        self._up = Gauge(
            "mosic_database_up",
            "1 when the database responded to the last check, else 0.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        # Until something else is known: a service does not start without its database.
        self._up.set(1)

    def pool_opened(self, most: int) -> None:
        self._most_connections.set(most)

    def connections_in_use(self, count: int) -> None:
        self._connections.set(count)

    def connection_awaited(self, change: int) -> None:
        """1 when a transaction begins to wait for a connection, -1 when it has one or gave up."""
        self._waiting.inc(change)

    def failed(self, reason: str) -> None:
        """`reason` is one of the stable words of `mosic.db.faults`."""
        self._faults.labels(reason).inc()

    def seen(self, *, up: bool) -> None:
        self._up.set(up)
