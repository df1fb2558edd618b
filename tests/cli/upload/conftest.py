"""Fixtures: somebody who uploads, and a network that breaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.relays import Relay, relaying
from tests.support.service import KEY, Service


@pytest.fixture(autouse=True)
def _somebody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a folder and a state of their own, and the key in the environment."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("MOSIC_API_KEY", KEY)


@pytest.fixture
async def relay(service: Service) -> AsyncIterator[Relay]:
    async with relaying(service.port) as made:
        yield made
