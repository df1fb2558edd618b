"""Every Prometheus collector, and one method per event so that nobody else touches a collector.

Base units (seconds, bytes) in the names; labels are route templates, methods, statuses and stable codes,
never a raw path or an id, so that the number of series stays bounded.
"""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from mosic import __version__

# A range of a cached file takes well under a millisecond, an upload of an album minutes.
_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

UNMATCHED = "unmatched"


class Metrics:
    """One set of collectors on a registry of its own, so that two services in one process do not mix."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._latency = Histogram(
            "mosic_request_latency_seconds",
            "Time from the request's head to the end of its answer.",
            ["method", "route", "status"],
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self._requests = Counter(
            "mosic_total_api_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._errors = Counter(
            "mosic_errors", "Problem answers by their stable code.", ["code"], registry=self.registry
        )
        self._key_requests = Counter(
            "mosic_api_key_requests",
            "Requests with a valid API key, by the key's name.",
            ["key_name"],
            registry=self.registry,
        )
        self._wrong_keys = Counter(
            "mosic_wrong_api_keys", "Requests with an API key that is not valid.", registry=self.registry
        )
        self._key_file_reads = Counter(
            "mosic_api_key_file_reads",
            "Times that the key file was read again, by outcome: taken, refused.",
            ["outcome"],
            registry=self.registry,
        )
        self._uploads = Counter(
            "mosic_uploads",
            "Uploads ended, by outcome: created, duplicate, or the code of the error.",
            ["outcome"],
            registry=self.registry,
        )
        self._upload_bytes = Counter(
            "mosic_upload_bytes", "Bytes of audio received, kept or not.", registry=self.registry
        )
        self._streams = Counter(
            "mosic_streams",
            "Audio answers begun (200 and 206 with a body), plays and seeks alike.",
            registry=self.registry,
        )
        self._stream_bytes = Counter(
            "mosic_stream_bytes", "Bytes of audio handed to the network.", registry=self.registry
        )
        self._active_streams = Gauge(
            "mosic_active_streams", "Audio answers being sent now.", registry=self.registry
        )
        self._plays = Counter("mosic_plays", "Plays counted in the database.", registry=self.registry)
        self._plays_waiting = Gauge(
            "mosic_plays_waiting", "Plays not yet written to the database.", registry=self.registry
        )
        self._sweeps = Counter("mosic_sweeps", "Sweeps that came to their end.", registry=self.registry)
        self._swept = Counter(
            "mosic_swept",
            "Leftovers removed, by kind: expired upload, staged file, orphaned blob.",
            ["kind"],
            registry=self.registry,
        )
        self._by_request: dict[tuple[str, str, int], tuple[Histogram, Counter]] = {}
        build = Gauge("mosic_build_info", "Always 1; names the version.", ["version"], registry=self.registry)
        build.labels(__version__).set(1)

    def request_ended(self, method: str, route: str, status: int, seconds: float) -> None:
        labels = (method, route, status)
        known = self._by_request.get(labels)
        if known is None:
            # `labels` of a collector takes longer than counting with what it gives.
            texts = (method, route, str(status))
            known = self._by_request[labels] = (
                self._latency.labels(*texts),
                self._requests.labels(*texts),
            )
        latency, requests = known
        latency.observe(seconds)
        requests.inc()

    def error_answered(self, code: str) -> None:
        self._errors.labels(code).inc()

    def request_by_key(self, key_name: str) -> None:
        self._key_requests.labels(key_name).inc()

    def wrong_key(self) -> None:
        self._wrong_keys.inc()

    def key_file_read(self, outcome: Literal["taken", "refused"]) -> None:
        self._key_file_reads.labels(outcome).inc()

    def upload_ended(self, outcome: str, size: int) -> None:
        self._uploads.labels(outcome).inc()
        self._upload_bytes.inc(size)

    def stream_began(self) -> None:
        self._streams.inc()
        self._active_streams.inc()

    def stream_sent(self, sent: int) -> None:
        """One that began and ended at once."""
        self._streams.inc()
        self._stream_bytes.inc(sent)

    def stream_ended(self, sent: int) -> None:
        self._active_streams.dec()
        self._stream_bytes.inc(sent)

    def plays_counted(self, count: int) -> None:
        self._plays.inc(count)

    def plays_waiting(self, count: int) -> None:
        self._plays_waiting.set(count)

    def swept(self, kind: Literal["upload", "staged", "blob"], count: int) -> None:
        self._swept.labels(kind).inc(count)

    def sweep_ended(self) -> None:
        self._sweeps.inc()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The current values and their content type, as OpenMetrics when `accept` asks for it."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type
