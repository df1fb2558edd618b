"""Fixtures: a service for the uploads of a whole file, and a client for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mosic.postgres import EmbeddedPostgres
from tests.support.databases import empty_database
from tests.support.service import Service, running_service
from tests.support.tus import Tus


@pytest.fixture(scope="module")
async def shared(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """One service for all tests that need nothing special: each has audio of its own."""
    media_root = tmp_path_factory.mktemp("tus") / "media"
    async with empty_database(postgres) as url, running_service(media_root, url) as service:
        yield service


@pytest.fixture
async def tus(shared: Service) -> AsyncIterator[Tus]:
    client = Tus(shared)
    yield client
    await client.close()
