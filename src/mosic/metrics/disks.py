"""The space on the disks that the service writes to, read at each scrape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mosic import disk


class DiskMetrics(Collector):
    def __init__(self) -> None:
        self._folders: Mapping[str, Path] = {}

    def watch(self, folders: Mapping[str, Path]) -> None:
        """Show the disks of these folders, under these names."""
        self._folders = dict(folders)

    def collect(self) -> Iterator[Metric]:
        free = GaugeMetricFamily(
            "mosic_disk_free_bytes", "Free space for Mosic on the disk of a folder.", labels=["folder"]
        )
        size = GaugeMetricFamily("mosic_disk_size_bytes", "Size of the disk of a folder.", labels=["folder"])
        for name, folder in self._folders.items():
            try:
                free_bytes, size_bytes = disk.free_bytes(folder), disk.size_bytes(folder)
            except OSError:
                continue
            free.add_metric([name], free_bytes)
            size.add_metric([name], size_bytes)
        yield free
        yield size
