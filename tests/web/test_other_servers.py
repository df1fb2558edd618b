"""Served by something else than uvicorn, of whose connections nothing is known: the answers are the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import URL

from mosic.settings import Settings
from mosic.web.app import create_app
from tests.support.databases import shown
from tests.support.service import AUTH, KEY
from tests.support.sounds import wav

CONTENT = wav(60.0)
Message = MutableMapping[str, Any]


@pytest.fixture
async def http(tmp_path: Path, database_url: URL) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(
        media_root=tmp_path / "media",
        data_dir=tmp_path / "data",
        database_url_override=SecretStr(shown(database_url)),
        api_key=KEY,
        probe_workers=1,
        allowed_hosts=("mosic.test",),
    )
    app = create_app(settings)
    asked: asyncio.Queue[Message] = asyncio.Queue()
    told: asyncio.Queue[Message] = asyncio.Queue()
    alive = asyncio.ensure_future(app({"type": "lifespan"}, asked.get, told.put))
    await asked.put({"type": "lifespan.startup"})
    assert (await told.get())["type"] == "lifespan.startup.complete"
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://mosic.test",
        headers=AUTH,
        timeout=60,
    ) as client:
        yield client
    await asked.put({"type": "lifespan.shutdown"})
    assert (await told.get())["type"] == "lifespan.shutdown.complete"
    await alive


async def test_short_and_long_answers(http: httpx.AsyncClient) -> None:
    clip = (await http.post("/play/upload", content=CONTENT)).json()
    path = f"/play/{clip['id']}/stream"
    assert (await http.get(path)).content == CONTENT
    part = await http.get(path, headers={"Range": "bytes=10-99"})
    assert (part.status_code, part.content) == (206, CONTENT[10:100])
    head = await http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(CONTENT))
    assert (await http.get(path, headers={"If-None-Match": "*"})).status_code == 304
    assert (await http.get("/play/x/stream")).status_code == 404
    assert (await http.get(f"/play/{clip['id']}/stats")).json()["play_count"] == 1
