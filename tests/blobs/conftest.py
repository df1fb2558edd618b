"""Fixtures: stores, and files to put into them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uuid_utils.compat

from mosic.blobs.base import BlobStore
from mosic.blobs.local import LocalBlobs
from mosic.blobs.memory import MemoryBlobs

Stage = Callable[[bytes], Path]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Writes a finished file, as an upload leaves it, on the store's own file system."""

    def stage(content: bytes) -> Path:
        path = tmp_path / new_key()
        path.write_bytes(content)
        return path

    return stage


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalBlobs]:
    async with LocalBlobs(tmp_path / "media") as blobs:
        yield blobs


@pytest.fixture(params=["local", "memory"])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    if request.param == "memory":
        yield MemoryBlobs()
    else:
        async with LocalBlobs(tmp_path / "media") as local:
            yield local


def new_key() -> str:
    return uuid_utils.compat.uuid7().hex
