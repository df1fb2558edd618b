"""The space on the disks that the service writes to, read at each scrape."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


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
                disk = os.statvfs(folder)
            except OSError:
                continue
            free.add_metric([name], disk.f_bavail * disk.f_frsize)
            size.add_metric([name], disk.f_blocks * disk.f_frsize)
        yield free
        yield size
