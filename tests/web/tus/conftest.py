"""A client of resumable uploads for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.service import Service
from tests.support.tus import Tus


@pytest.fixture
async def tus(service: Service) -> AsyncIterator[Tus]:
    client = Tus(service)
    yield client
    await client.close()
