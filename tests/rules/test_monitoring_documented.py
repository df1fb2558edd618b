"""docs/monitoring.md names every metric and every alert, and none that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

from mosic.metrics import CatalogueFigures, Metrics

TOP = Path(__file__).resolve().parents[2]
DOCUMENT = (TOP / "docs/monitoring.md").read_text()


def first_column(heading: str) -> list[str]:
    section = DOCUMENT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.M)


def test_metrics() -> None:
    metrics = Metrics()
    metrics.catalogue.show(CatalogueFigures(0.0, 0, 0, 0, 0, ()))
    text = metrics.exposition("")[0].decode()
    names = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(text)
    }
    documented = first_column("Metrics")
    assert sorted(documented) == sorted(names)


def test_alerts() -> None:
    groups = yaml.safe_load((TOP / "deploy/prometheus/alerts.yml").read_text())["groups"]
    assert first_column("Alerts") == [rule["alert"] for group in groups for rule in group["rules"]]
