"""A disk that is full, or fails, at any one step of an upload: 507 or 503, and nothing of it stays."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import URL

from mosic.core.runtime import Runtime
from mosic.errors import InsufficientStorage, MosicError, Unavailable
from tests.conftest import shown
from tests.service import AUTH, running_service
from tests.sounds import wav
from tests.stores import keys_in, known_keys, upload


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, InsufficientStorage),
        (errno.EDQUOT, InsufficientStorage),
        (errno.EIO, Unavailable),
        (errno.EROFS, Unavailable),
    ],
)
async def test_a_disk_that_is_full_or_fails_at_any_step(
    rt: Runtime, monkeypatch: pytest.MonkeyPatch, number: int, error: type[MosicError]
) -> None:
    left = 0

    def failing(name: str) -> None:
        call = getattr(os, name)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise OSError(number, os.strerror(number))
            return call(*arguments, **options)

        monkeypatch.setattr(os, name, wrapped)

    for name in ("fsync", "link", "mkdir", "pwrite"):
        failing(name)
    for step in range(1, 100):
        left = step
        try:
            await upload(rt, wav(seed=step))
        except error:
            assert await known_keys(rt) == set() == await keys_in(rt.blobs)
            assert list((rt.settings.media_root / ".staging").iterdir()) == []
        else:
            break
    assert 4 < step < 99
    assert len(await known_keys(rt)) == 1
    assert await keys_in(rt.blobs) == await known_keys(rt)


@pytest.mark.parametrize("limit", ["size=6m", "nr_inodes=40"])
async def test_a_small_disk_that_uploads_fill(tmp_path: Path, database_url: URL, limit: str) -> None:
    media = tmp_path / "media"
    media.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", limit, "tmpfs", str(media)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs to mount a tmpfs")
    try:
        async with running_service(media, shown(database_url)) as service:
            contents = {
                hashlib.sha256(content).hexdigest(): content
                for content in (wav(0.1 if "inodes" in limit else 30, seed=seed) for seed in range(60))
            }
            waiting = list(contents.values())
            answers: list[httpx.Response] = []

            async def client() -> None:
                while waiting:
                    content = waiting.pop()
                    answers.append(await service.http.post("/play/upload", content=content, headers=AUTH))

            await asyncio.gather(*(client() for _ in range(4)))
            assert {answer.status_code for answer in answers} == {201, 507}
            listed = (await service.http.get("/play?limit=100")).json()
            kept = {answer.json()["id"] for answer in answers if answer.status_code == 201}
            assert {clip["id"] for clip in listed} == kept
            for clip in listed:
                stream = await service.http.get(f"/play/{clip['id']}/stream")
                assert stream.content == contents[clip["sha256"]]
            assert len(service.files()) == len(kept)
            for clip_id in list(kept)[:5]:
                assert (await service.http.delete(f"/play/{clip_id}", headers=AUTH)).status_code == 204
            again = await service.http.post("/play/upload", content=wav(1, seed=99), headers=AUTH)
            assert again.status_code == 201
    finally:
        subprocess.run(["umount", "-l", str(media)], check=True)
