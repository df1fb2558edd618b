"""Fixtures of the tests over HTTP."""

from __future__ import annotations

import pytest

from mosic.keys.failures import Failures


@pytest.fixture
def unforgiving(monkeypatch: pytest.MonkeyPatch) -> None:
    """No wrong key is forgotten by the time that goes by, however slow the machine is."""
    add = Failures.add
    monkeypatch.setattr(Failures, "add", lambda self, address, _: add(self, address, 0.0))
