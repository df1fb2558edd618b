"""Requests, and the errors that they got."""

from __future__ import annotations

from time import monotonic

from prometheus_client import Counter

from mosic.metrics.counting import Count, Counting, Distribution

UNMATCHED = "unmatched"
"""The route of a request for which there is none."""

# A range of a cached file takes well under a millisecond, an upload of an album minutes.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

# An exemplar costs more than all else that is counted of a request: those that take long have theirs, of the
# others one a second for each set of labels.
_EXEMPLAR_PAUSE_SECONDS = 1.0
_SLOW_SECONDS = 0.25
# OpenMetrics 1.0 allows an exemplar 128 characters, the name of its label included.
_EXEMPLAR_LENGTH = 128 - len("request_id")


class RequestMetrics:
    def __init__(self, counting: Counting) -> None:
        labels = ["method", "route", "status"]
        self._latency = counting.histogram(
            "mosic_request_latency_seconds",
            "Time from the request's head to the end of its response.",
            _BUCKETS,
            labels,
        )
        self._requests = counting.counter("mosic_total_api_requests", "Requests answered.", labels)
        self._errors = Counter(
            "mosic_errors", "Error responses by their stable code.", ["code"], registry=counting.registry
        )
        # Workers that share a folder have none.
        self._exemplars = not counting.shared
        self._by_request: dict[tuple[str, str, int], _Request] = {}

    def ended(
        self, method: str, route: str, status: int, seconds: float, request_id: str | None = None
    ) -> None:
        """`request_id` may become the exemplar, by which a slow request is found in the log."""
        labels = (method, route, status)
        known = self._by_request.get(labels)
        if known is None:
            texts = (method, route, str(status))
            known = _Request(self._latency.labelled(*texts), self._requests.labelled(*texts))
            self._by_request[labels] = known
        known.requests.inc()
        if self._exemplars and request_id is not None:
            now = monotonic()
            if seconds >= _SLOW_SECONDS or now >= known.exemplar_due:
                known.exemplar_due = now + _EXEMPLAR_PAUSE_SECONDS
                exemplar = {"request_id": request_id} if len(request_id) <= _EXEMPLAR_LENGTH else None
                known.latency.observe(seconds, exemplar)
                return
        known.latency.observe(seconds)

    def failed(self, code: str) -> None:
        self._errors.labels(code).inc()


class _Request:
    """Counts requests of one kind: asking collectors for their children takes longer than counting."""

    __slots__ = ("exemplar_due", "latency", "requests")

    def __init__(self, latency: Distribution, requests: Count) -> None:
        self.latency = latency
        self.requests = requests
        self.exemplar_due = 0.0
