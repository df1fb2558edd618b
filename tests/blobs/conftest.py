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
    blobs = LocalBlobs(tmp_path / "media")
    await blobs.start()
    yield blobs
    await blobs.close()


@pytest.fixture(params=["local", "memory"])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    made: BlobStore = LocalBlobs(tmp_path / "media") if request.param == "local" else MemoryBlobs()
    await made.start()
    yield made
    await made.close()


def new_key() -> str:
    return uuid_utils.compat.uuid7().hex
