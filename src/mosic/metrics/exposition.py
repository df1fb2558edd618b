"""All metrics of a service, and how they are shown."""

from __future__ import annotations

import math
import os
import threading
import time
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from mosic import __version__
from mosic.metrics.background import BackgroundMetrics
from mosic.metrics.catalogue import CatalogueMetrics
from mosic.metrics.counting import Counting
from mosic.metrics.database import DatabaseMetrics
from mosic.metrics.disks import DiskMetrics
from mosic.metrics.keys import KeyMetrics
from mosic.metrics.loglines import LogMetrics
from mosic.metrics.plays import PlayMetrics
from mosic.metrics.requests import RequestMetrics
from mosic.metrics.storage import BlobMetrics, SweepMetrics
from mosic.metrics.streams import StreamMetrics
from mosic.metrics.uploads import ProbeMetrics, UploadMetrics
from mosic.metrics.workers import ENVIRONMENT, WorkersFolder
from mosic.metrics.works import WorkMetrics

_OPENMETRICS = "application/openmetrics-text; version=1.0.0"
_VERSIONS = ("1", "1.0", "1.0.0")


class Metrics:
    """One group for each part of the service, on a registry of its own, so that two services in one process
    do not mix. A group has one method per event.

    Where the environment says that several worker processes share a folder (`mosic.metrics.workers`), the
    values live there, and `exposition` gives those of all of them. That is then so for the whole process.
    """

    def __init__(self, *, cache_seconds: float = 0) -> None:
        """`cache_seconds`: how old an exposition may be that is given again."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        folder = os.environ.get(ENVIRONMENT)
        self._workers = WorkersFolder(Path(folder)) if folder else None
        registry = shown = CollectorRegistry()
        if self._workers is not None:
            shown = CollectorRegistry()
            shown.register(self._workers)
        counting = Counting(registry, shared=self._workers is not None)
        self.requests = RequestMetrics(counting)
        self.keys = KeyMetrics(registry)
        self.uploads = UploadMetrics(registry)
        self.probes = ProbeMetrics(registry)
        self.blobs = BlobMetrics(registry)
        self.sweeps = SweepMetrics(registry)
        self.streams = StreamMetrics(counting)
        self.plays = PlayMetrics(registry)
        self.works = WorkMetrics(registry)
        self.database = DatabaseMetrics(registry)
        self.logs = LogMetrics(registry)
        self.background = BackgroundMetrics(registry)
        self.catalogue = CatalogueMetrics(self._workers)
        self.disks = DiskMetrics()
        _show_process(registry)
        # These are computed at each scrape, so no folder of workers holds them.
        shown.register(self.catalogue)
        shown.register(self.disks)
        self._shown = shown
        self._cache_seconds = cache_seconds
        self._cached: dict[bool, tuple[float, tuple[bytes, str]]] = {}
        self._making = threading.Lock()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The values, at most `cache_seconds` old, and their type: OpenMetrics when `accept` asks for it.

        Takes milliseconds, and where there are several workers it reads files: for a thread. Of several that
        ask at once one does the work. Exemplars are in OpenMetrics only, and only where one process serves.
        """
        openmetrics = _wants_openmetrics(accept)
        with self._making:
            cached = self._fresh(openmetrics)
            if cached is None:
                began = time.monotonic()
                cached = self._make(openmetrics)
                self._cached[openmetrics] = began, cached
        return cached

    def cached_exposition(self, accept: str) -> tuple[bytes, str] | None:
        """What `exposition` would give, if it is there already: at no cost, for the event loop."""
        return self._fresh(_wants_openmetrics(accept))

    def _fresh(self, openmetrics: bool) -> tuple[bytes, str] | None:
        at, exposition = self._cached.get(openmetrics, (-math.inf, None))
        return exposition if time.monotonic() - at < self._cache_seconds else None

    def _make(self, openmetrics: bool) -> tuple[bytes, str]:
        if self._workers is not None:
            self._workers.forget_the_dead()
        encode, content_type = choose_encoder(_OPENMETRICS if openmetrics else "")
        return encode(self._shown), content_type


def _show_process(registry: CollectorRegistry) -> None:
    build = Gauge(
        "mosic_build_info",
        "Always 1; the label names the version.",
        ["version"],
        registry=registry,
        multiprocess_mode="max",
    )
    build.labels(__version__).set(1)
    workers = Gauge(
        "mosic_workers",
        "Worker processes that serve requests.",
        registry=registry,
        multiprocess_mode="livesum",
    )
    workers.set(1)


def _wants_openmetrics(accept: str) -> bool:
    """Whether the field (RFC 9110 §12.5.1) asks for OpenMetrics 1.0 and does not like plain text better.

    prometheus_client's own reading of it fails on a version that is no number, and promises whichever is
    asked.
    """
    openmetrics = text = 0.0
    for part in accept.split(","):
        media_type, *given = (word.strip().lower() for word in part.split(";"))
        parameters = dict(word.split("=", 1) for word in given if "=" in word)
        try:
            weight = float(parameters.get("q", "1"))
        except ValueError:
            continue
        if media_type == "text/plain":
            text = max(text, weight)
        elif media_type == "application/openmetrics-text" and parameters.get("version", "1") in _VERSIONS:
            openmetrics = max(openmetrics, weight)
    return openmetrics > 0 and openmetrics >= text
