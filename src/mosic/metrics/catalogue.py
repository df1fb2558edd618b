"""The figures of the whole catalogue, which no single event gives: they are read from time to time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

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
class WorkFigures:
    """How many works of a kind are in a state, and how long the oldest of them has been due."""

    kind: str
    state: str
    count: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class CatalogueFigures:
    """The whole catalogue, the same for every service on one database. `at` is a Unix time."""

    at: float
    clips: int
    stored_bytes: int
    plays: int
    streamed_bytes: int
    top: tuple[TopClip, ...]
    works: tuple[WorkFigures, ...] = ()


class CatalogueMetrics(Collector):
    """Shows the figures of the catalogue as they were read last; workers share them."""

    def __init__(self, workers: WorkersFolder | None) -> None:
        self._workers = workers
        self._last_read: CatalogueFigures | None = None

    def is_read_here(self) -> bool:
        """Whether this process is the one that reads the figures; of several workers one does."""
        return self._workers is None or self._workers.leads()

    def show(self, figures: CatalogueFigures) -> None:
        self._last_read = figures
        if self._workers is not None:
            self._workers.publish("catalogue", json.dumps(asdict(figures)))

    def collect(self) -> Iterator[Metric]:
        figures = self._current()
        if figures is not None:
            yield from _families(figures)

    def _current(self) -> CatalogueFigures | None:
        if self._workers is None:
            return self._last_read
        published = self._workers.published("catalogue")
        if published is None:
            return None
        values = json.loads(published)
        values["top"] = tuple(TopClip(**clip) for clip in values["top"])
        values["works"] = tuple(WorkFigures(**work) for work in values["works"])
        return CatalogueFigures(**values)


def _families(figures: CatalogueFigures) -> Iterator[Metric]:
    yield GaugeMetricFamily("mosic_clips", "Clips in the catalogue.", figures.clips)
    yield GaugeMetricFamily("mosic_stored_bytes", "Bytes of all clips in the store.", figures.stored_bytes)
    yield GaugeMetricFamily(
        "mosic_catalogue_plays", "Plays of the clips in the catalogue, over all time.", figures.plays
    )
    yield GaugeMetricFamily(
        "mosic_catalogue_streamed_bytes",
        "Bytes sent of the clips in the catalogue, over all time.",
        figures.streamed_bytes,
    )
    top = GaugeMetricFamily(
        "mosic_top_clip_plays",
        f"Plays of the {_TOP} most played clips, over all time.",
        labels=["clip_id", "title"],
    )
    for clip in figures.top[:_TOP]:
        top.add_metric([clip.clip_id, _short(clip.title)], clip.plays)
    yield top
    works = GaugeMetricFamily(
        "mosic_works", "Works by kind and state: waiting, running, done, failed.", labels=["kind", "state"]
    )
    oldest = GaugeMetricFamily(
        "mosic_works_oldest_waiting_seconds",
        "How long the work that waits longest has been due.",
        labels=["kind"],
    )
    for work in figures.works:
        works.add_metric([work.kind, work.state], work.count)
        if work.state == "waiting":
            oldest.add_metric([work.kind], work.oldest_seconds)
    yield works
    yield oldest
    yield GaugeMetricFamily(
        "mosic_catalogue_age_seconds",
        "How long ago the catalogue was queried for mosic_clips, mosic_top_clip_plays and similar metrics.",
        max(0.0, time.time() - figures.at),
    )


def _short(title: str) -> str:
    return title if len(title) <= _TITLE_LENGTH else title[: _TITLE_LENGTH - 1] + "…"
