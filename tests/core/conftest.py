"""Fixtures: runtimes, which are what a process of the service holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from mosic.boot import open_runtime
from mosic.core.runtime import Runtime
from mosic.core.works.kinds import Learns
from mosic.metrics import Metrics
from mosic.settings import Settings
from tests.support.databases import shown
from tests.support.stores import Open


@pytest.fixture
def open_rt(tmp_path: Path, database_url: URL) -> Open:
    """Opens a runtime on the test's own database and media root; several are like several processes."""

    def open_rt(
        *, learns: Sequence[Learns] | None = None, **settings: Any
    ) -> AbstractAsyncContextManager[Runtime]:
        given: dict[str, Any] = {
            "media_root": tmp_path / "media",
            "probe_workers": 1,
            "db_pool_size": 4,
            "trash_days": 0,
            "database_url_override": shown(database_url),
        }
        chosen = Settings(
            data_dir=tmp_path / "data",
            api_key="k",
            **given | settings,
        )
        return open_runtime(chosen, Metrics(), learns=learns)

    return open_rt


@pytest.fixture
async def rt(open_rt: Open) -> AsyncIterator[Runtime]:
    async with open_rt() as runtime:
        yield runtime
