"""Nothing that a request does blocks the event loop: blockbuster raises where something would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster, BlockingError

from mosic.core.places import make_folder
from tests.support.service import AUTH, Service
from tests.support.sounds import wav


@pytest.fixture
def watched() -> Iterator[None]:
    buster = BlockBuster("mosic")
    buster.activate()
    yield
    buster.deactivate()


@pytest.mark.usefixtures("watched")
async def test_the_watch_works(tmp_path: Path) -> None:
    """One that may block, called on the loop, is found: so the silence below means something."""
    with pytest.raises(BlockingError):
        make_folder(tmp_path / "new", "MOSIC_DATA_DIR")


@pytest.mark.usefixtures("watched")
async def test_main_job(service: Service) -> None:
    content = wav(20.0)
    form = await service.http.post("/play/upload", files={"file": ("a.wav", content)}, headers=AUTH)
    assert form.status_code == 201
    clip = form.json()
    assert (await service.http.put("/play/upload", content=content, headers=AUTH)).status_code == 200
    assert (await service.http.post("/play/upload", content=b"text", headers=AUTH)).status_code == 415
    assert (await service.http.get("/play")).status_code == 200
    path = f"/play/{clip['id']}"
    assert (await service.http.get(f"{path}/stream")).content == content
    ranged = await service.http.get(f"{path}/stream", headers={"Range": "bytes=5-99,200-300"})
    assert ranged.status_code == 206
    assert (await service.http.patch(path, json={"title": "x"}, headers=AUTH)).status_code == 200
    assert (await service.http.get(f"{path}/stats")).status_code == 200
    for watched in ("/health", "/ready", "/metrics", "/openapi.json", "/docs", "/docs/assets/docs.js"):
        assert (await service.http.get(watched)).status_code == 200
    assert (await service.http.delete(path, headers=AUTH)).status_code == 204
