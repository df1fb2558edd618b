"""Local blobs whose folders somebody removes or spoils while they are in use."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mosic.blobs.local import LocalBlobs
from mosic.errors import BlobMissing, Unavailable
from tests.blobs.conftest import Stage, new_key


def beside(blob_key: str) -> str:
    """Another key, whose blob goes into the same folder."""
    return new_key()[:-2] + blob_key[-2:]


async def test_a_folder_that_was_removed_is_made_again(
    local: LocalBlobs, stage: Stage, tmp_path: Path
) -> None:
    first = new_key()
    await local.put(first, stage(b"first"))
    shutil.rmtree(tmp_path / "media/blobs")
    second, path = beside(first), stage(b"second")
    with pytest.raises(Unavailable):
        await local.put(second, path)
    assert path.read_bytes() == b"second"
    await local.put(second, path)
    async with local.open(second) as blob:
        assert await blob.read(100) == b"second"
    with pytest.raises(BlobMissing):
        async with local.open(first):
            pass


async def test_a_file_in_the_place_of_a_folder(local: LocalBlobs, stage: Stage, tmp_path: Path) -> None:
    blob_key, path = new_key(), stage(b"song")
    (tmp_path / "media/blobs" / blob_key[-2:]).write_bytes(b"")
    with pytest.raises(Unavailable):
        await local.put(blob_key, path)
    assert path.read_bytes() == b"song"
    with pytest.raises(Unavailable):
        async with local.open(blob_key):
            pass
