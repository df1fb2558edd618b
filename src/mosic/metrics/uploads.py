"""The audio that comes in, and the reading of its tags."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

_UPLOAD_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_RATE_BUCKETS = (1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7, 3e7, 1e8, 3e8, 1e9)
_PROBE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)


class UploadMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._uploads = Counter(
            "mosic_uploads",
            "Uploads ended, by outcome: created, duplicate, or the code of the error.",
            ["outcome"],
            registry=registry,
        )
        self._upload_bytes = Counter(
            "mosic_upload_bytes", "Bytes of audio received, kept or not.", registry=registry
        )
        self._upload_seconds = Histogram(
            "mosic_upload_seconds",
            "Time from the head of a single-request upload until its clip was made.",
            buckets=_UPLOAD_BUCKETS,
            registry=registry,
        )
        self._upload_rate = Histogram(
            "mosic_upload_rate_bytes_per_second",
            "Speed of a single-request upload: its size divided by the time until its clip was made.",
            buckets=_RATE_BUCKETS,
            registry=registry,
        )

    def ended(self, outcome: str, size: int, seconds: float | None = None) -> None:
        """`seconds` only of an upload that came in one request and whose bytes are in the catalogue now."""
        self._uploads.labels(outcome).inc()
        self._upload_bytes.inc(size)
        if seconds is not None:
            self._upload_seconds.observe(seconds)
            if seconds > 0:
                self._upload_rate.observe(size / seconds)


class ProbeMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._probes = Histogram(
            "mosic_probe_seconds",
            "Time to probe a file, by outcome: ok, unsupported, unreadable, timeout, crash.",
            ["outcome"],
            buckets=_PROBE_BUCKETS,
            registry=registry,
        )

    def ended(self, outcome: str, seconds: float) -> None:
        self._probes.labels(outcome).observe(seconds)
