"""The alerts: promtool runs their tests, which leave none out."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support.programs import needs

ALERTS = Path(__file__).resolve().parents[2] / "deploy/prometheus/alerts.yml"
TESTS = Path(__file__).with_name("alerts.test.yml")


@needs("promtool")
def test_alerts_fire_when_they_have_to_and_only_then() -> None:
    run = subprocess.run(
        ["promtool", "test", "rules", str(TESTS)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_each_alert_is_seen_firing_and_not_firing() -> None:
    defined = {
        rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    }
    asked: list[dict[str, Any]] = [
        one for test in yaml.safe_load(TESTS.read_text())["tests"] for one in test["alert_rule_test"]
    ]
    assert {one["alertname"] for one in asked if one["exp_alerts"]} == defined
    assert {one["alertname"] for one in asked if not one["exp_alerts"]} == defined
