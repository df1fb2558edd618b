"""What no event tells, put together when it is asked for: the catalogue, as last looked at, and free disk."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mosic.metrics.workers import WorkersFolder

_TITLE_LENGTH = 80
_TOP = 10


@dataclass(frozen=True, slots=True)
class TopClip:
    """One of the most played."""

    clip_id: str
    title: str
    plays: int


@dataclass(frozen=True, slots=True)
class CatalogueGlance:
    """The whole catalogue, the same for every service on one database. `at` is a Unix time."""

    at: float
    clips: int
    stored_bytes: int
    plays: int
    streamed_bytes: int
    top: tuple[TopClip, ...]


class Glances(Collector):
    """Gives the last glance at the catalogue, which workers share, and looks at the disks."""

    def __init__(self, workers: WorkersFolder | None) -> None:
        self._workers = workers
        self._kept: CatalogueGlance | None = None
        self.folders: Mapping[str, Path] = {}

    def keep(self, glance: CatalogueGlance) -> None:
        self._kept = glance
        if self._workers is not None:
            self._workers.publish("catalogue", json.dumps(asdict(glance)))

    def collect(self) -> Iterator[Metric]:
        glance = self._last()
        if glance is not None:
            yield from _of_catalogue(glance)
        yield from _of_disks(self.folders)

    def _last(self) -> CatalogueGlance | None:
        if self._workers is None:
            return self._kept
        published = self._workers.published("catalogue")
        if published is None:
            return None
        values = json.loads(published)
        return CatalogueGlance(**{**values, "top": tuple(TopClip(**clip) for clip in values["top"])})


def _of_catalogue(glance: CatalogueGlance) -> Iterator[Metric]:
    yield GaugeMetricFamily("mosic_clips", "Clips in the catalogue.", glance.clips)
    yield GaugeMetricFamily("mosic_stored_bytes", "Size of all clips in the store.", glance.stored_bytes)
    yield GaugeMetricFamily(
        "mosic_catalogue_plays", "Plays of the clips that are in the catalogue, since ever.", glance.plays
    )
    yield GaugeMetricFamily(
        "mosic_catalogue_streamed_bytes",
        "Bytes sent of the clips that are in the catalogue, since ever.",
        glance.streamed_bytes,
    )
    top = GaugeMetricFamily(
        "mosic_top_clip_plays",
        f"Plays of the {_TOP} clips that have most, since ever.",
        labels=["clip_id", "title"],
    )
    for clip in glance.top[:_TOP]:
        top.add_metric([clip.clip_id, _short(clip.title)], clip.plays)
    yield top
    yield GaugeMetricFamily(
        "mosic_catalogue_age_seconds",
        "How long ago the catalogue was looked at for mosic_clips, mosic_top_clip_plays and their like.",
        max(0.0, time.time() - glance.at),
    )


def _short(title: str) -> str:
    return title if len(title) <= _TITLE_LENGTH else title[: _TITLE_LENGTH - 1] + "…"


def _of_disks(folders: Mapping[str, Path]) -> Iterator[Metric]:
    free = GaugeMetricFamily(
        "mosic_disk_free_bytes", "Room left to Mosic on the disk of a folder.", labels=["folder"]
    )
    size = GaugeMetricFamily("mosic_disk_size_bytes", "Size of the disk of a folder.", labels=["folder"])
    for name, folder in folders.items():
        try:
            disk = os.statvfs(folder)
        except OSError:
            continue
        free.add_metric([name], disk.f_bavail * disk.f_frsize)
        size.add_metric([name], disk.f_blocks * disk.f_frsize)
    yield free
    yield size
