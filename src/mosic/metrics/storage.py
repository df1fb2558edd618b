"""What is found in the store, and what is removed from there."""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry, Counter


class BlobMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._unusable = Counter(
            "mosic_blob_troubles",
            "Clips whose stored file was missing or damaged when the same bytes were uploaded again: "
            "restored from the upload, or damaged.",
            ["kind"],
            registry=registry,
        )
        for kind in ("restored", "damaged"):
            self._unusable.labels(kind)

    def unusable(self, kind: Literal["restored", "damaged"]) -> None:
        self._unusable.labels(kind).inc()


class SweepMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._sweeps = Counter("mosic_sweeps", "Sweeps completed.", registry=registry)
        self._swept = Counter(
            "mosic_swept",
            "Leftovers removed, by kind: expired upload, staged file, orphaned blob.",
            ["kind"],
            registry=registry,
        )

    def removed(self, kind: Literal["upload", "staged", "blob", "trash"], count: int) -> None:
        self._swept.labels(kind).inc(count)

    def ended(self) -> None:
        self._sweeps.inc()
