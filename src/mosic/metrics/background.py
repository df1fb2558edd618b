"""Loops behind the requests that failed."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class BackgroundMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._failed = Counter(
            "mosic_background_failures",
            "Times that a background loop failed with an unexpected error and was started again.",
            ["loop"],
            registry=registry,
        )

    def failed(self, name: str) -> None:
        self._failed.labels(name).inc()
