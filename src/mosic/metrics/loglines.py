"""Log lines that were dropped."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class LogMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._dropped = Counter(
            "mosic_log_lines_dropped",
            "Log lines that were dropped because the reader of the log was too slow.",
            registry=registry,
        )

    def dropped(self, lines: int) -> None:
        self._dropped.inc(lines)
