"""Counters and histograms for what happens with every request.

prometheus_client takes a lock for each of its values, and checks each call: together a sixth of the steps of
Python's interpreter for a range of a cached file. Where one process serves, it is counted here without
either, on the thread of the event loop, and shown as the same metrics. Where worker processes share a folder,
prometheus_client does it all.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

_Bucket = tuple[str, float] | tuple[str, float, Exemplar]


class Count(Protocol):
    def inc(self, amount: float = 1) -> None: ...


class Distribution(Protocol):
    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None: ...


class Counting:
    """Makes counters and histograms, on one registry."""

    def __init__(self, registry: CollectorRegistry, *, shared: bool) -> None:
        """`shared`: worker processes keep their metrics together."""
        self.registry = registry
        self.shared = shared

    def counter(self, name: str, documentation: str, labels: Sequence[str] = ()) -> CounterFamily:
        """`name` without `_total` at its end."""
        if self.shared:
            return _SharedCounters(Counter(name, documentation, labels, registry=self.registry))
        return _OwnCounters(name, documentation, labels, self.registry)

    def histogram(
        self, name: str, documentation: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> HistogramFamily:
        """`buckets` are the upper bounds, without that of the last one, which is infinite."""
        if self.shared:
            return _SharedHistograms(
                Histogram(name, documentation, labels, buckets=buckets, registry=self.registry)
            )
        return _OwnHistograms(name, documentation, buckets, labels, self.registry)


class CounterFamily(Protocol):
    def labelled(self, *values: str) -> Count:
        """The counter with these values of the labels; to be kept by those who need it often."""
        ...


class HistogramFamily(Protocol):
    def labelled(self, *values: str) -> Distribution: ...


class _SharedCounters:
    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    def labelled(self, *values: str) -> Count:
        return self._counter.labels(*values) if values else self._counter


class _SharedHistograms:
    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram

    def labelled(self, *values: str) -> Distribution:
        return self._histogram.labels(*values) if values else self._histogram


class _OwnCount:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        self.value += amount


class _OwnCounters(Collector):
    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], registry: CollectorRegistry
    ) -> None:
        self._described = name, documentation
        self._labels = labels
        self._counts: dict[tuple[str, ...], _OwnCount] = {}
        if not labels:
            self.labelled()
        registry.register(self)

    def labelled(self, *values: str) -> Count:
        return self._counts.setdefault(values, _OwnCount())

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(*self._described, labels=self._labels)
        # Copied at one go: another thread asks, and the event loop may add one meanwhile.
        for values, count in list(self._counts.items()):
            family.add_metric(values, count.value)
        yield family


class _OwnDistribution:
    __slots__ = ("_bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.exemplars: dict[int, Exemplar] = {}
        self.total: float = 0

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        place = bisect_left(self._bounds, amount)
        self.counts[place] += 1
        self.total += amount
        if exemplar is not None:
            self.exemplars[place] = Exemplar(exemplar, amount, time.time())

    def buckets(self) -> list[_Bucket]:
        buckets: list[_Bucket] = []
        for place, count in enumerate(accumulate(self.counts)):
            bound = str(float(self._bounds[place])) if place < len(self._bounds) else "+Inf"
            exemplar = self.exemplars.get(place)
            buckets.append((bound, count) if exemplar is None else (bound, count, exemplar))
        return buckets


class _OwnHistograms(Collector):
    def __init__(
        self,
        name: str,
        documentation: str,
        bounds: Sequence[float],
        labels: Sequence[str],
        registry: CollectorRegistry,
    ) -> None:
        self._described = name, documentation
        self._bounds = tuple(bounds)
        self._labels = labels
        self._distributions: dict[tuple[str, ...], _OwnDistribution] = {}
        if not labels:
            self.labelled()
        registry.register(self)

    def labelled(self, *values: str) -> Distribution:
        return self._distributions.setdefault(values, _OwnDistribution(self._bounds))

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(*self._described, labels=self._labels)
        for values, found in list(self._distributions.items()):
            family.add_metric(values, found.buckets(), found.total)
        yield family
