"""What is counted without prometheus_client is shown as if it had been counted by it."""

from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from mosic.metrics.counting import Counting

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture(autouse=True)
def no_created_metrics() -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call]


def shown(accept: str, *, shared: bool, events: bool = True) -> str:
    registry = CollectorRegistry()
    counting = Counting(registry, shared=shared)
    plain = counting.counter("plain", "Without labels.").labelled()
    labelled = counting.counter("labelled", "With a label,\nand two lines.", ["kind"])
    times = counting.histogram("times_seconds", "Without labels.", (0.0005, 0.25, 1, 300)).labelled()
    by_route = counting.histogram("by_route_seconds", "With labels.", (0.001, 1), ["route", "status"])
    if events:
        plain.inc()
        plain.inc(65536)
        for kind in ("a", 'b"\\', "a"):
            labelled.labelled(kind).inc()
        for seconds in (0.0, 0.0005, 0.1, 0.25, 0.250001, 299.5, 300.5):
            times.observe(seconds)
        by_route.labelled("/play", "200").observe(0.5, {"request_id": "one"})
        by_route.labelled("/play", "200").observe(0.6, {"request_id": "two"})
        by_route.labelled("/play", "200").observe(0.7)
        by_route.labelled("/play", "404").observe(0.0001, {"request_id": "three"})
    encode, _ = choose_encoder(accept)
    # An exemplar ends with the time at which it was made.
    return re.sub(r"(# \{.*\} \S+) \S+$", r"\1", encode(registry).decode(), flags=re.M)


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
@pytest.mark.parametrize("events", [True, False])
def test_both_show_the_same(accept: str, events: bool) -> None:
    own = shown(accept, shared=False, events=events)
    assert own == shown(accept, shared=True, events=events)
    if events:
        assert "plain_total 65537.0" in own
        assert 'times_seconds_bucket{le="0.25"} 4.0' in own
    assert ('# {request_id="two"} 0.6' in own) == (events and accept == OPENMETRICS)


def test_a_counter_of_one_kind_is_one_counter() -> None:
    counting = Counting(CollectorRegistry(), shared=False)
    family = counting.counter("x", "X.", ["kind"])
    assert family.labelled("a") is family.labelled("a")
    assert family.labelled("a") is not family.labelled("b")
