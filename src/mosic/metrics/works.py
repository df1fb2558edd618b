"""What is learnt of clips after their upload."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300)


class WorkMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = Counter(
            "mosic_work_attempts",
            "Attempts at works that ended, by kind and outcome: done, failed for good, retried later, "
            "dropped because the clip was removed or replaced, abandoned by a process that ended.",
            ["kind", "outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "mosic_work_seconds",
            "Time that works took which are done; kinds that are learnt in one pass have the same time.",
            ["kind"],
            buckets=_SECONDS,
            registry=registry,
        )

    def ended(self, kind: str, outcome: str, seconds: float = 0) -> None:
        """`outcome` is `done`, `failed`, `retried`, `dropped` or `abandoned`."""
        self._ended.labels(kind, outcome).inc()
        if outcome == "done":
            self._seconds.labels(kind).observe(seconds)
