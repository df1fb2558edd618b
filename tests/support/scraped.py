"""Reads what /metrics says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@dataclass
class Scraped:
    samples: list[Sample]

    def all(self, name: str, **labels: str) -> Iterator[Sample]:
        """Those with the name that have these labels, whatever others they have."""
        return (
            sample
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def value(self, name: str, **labels: str) -> float:
        """Of the one sample that has just these labels; KeyError when there is none."""
        for sample in self.all(name):
            if sample.labels == labels:
                return sample.value
        raise KeyError(name, labels)

    def total(self, name: str, **labels: str) -> float:
        """Of all that have these labels."""
        return sum(sample.value for sample in self.all(name, **labels))


async def scrape(http: httpx.AsyncClient) -> Scraped:
    answer = await http.get("/metrics")
    assert answer.status_code == 200
    return read(answer.text)


def read(text: str) -> Scraped:
    return Scraped([sample for family in text_string_to_metric_families(text) for sample in family.samples])


async def scrape_openmetrics(http: httpx.AsyncClient) -> Scraped:
    answer = await http.get("/metrics", headers={"Accept": OPENMETRICS})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = read_openmetrics(answer.text)  # type: ignore[no-untyped-call]
    return Scraped([sample for family in families for sample in family.samples])
