"""Resumable uploads that are not finished are bounded: their number, and what they declare."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from mosic import disk
from tests.support.databases import shown
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav

MEBIBYTE = 1024 * 1024
OTHER = {"X-API-Key": "other-key-that-is-long"}
TUS = {"Tus-Resumable": "1.0.0"}
Start = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def start(tmp_path: Path, database_url: URL) -> Start:
    @asynccontextmanager
    async def start(**settings: Any) -> AsyncIterator[Service]:
        keys = f"other:{OTHER['X-API-Key']}"
        async with running_service(
            tmp_path / "media", shown(database_url), api_keys=keys, **settings
        ) as service:
            yield service

    return start


async def begin(service: Service, length: int | None = 100, key: dict[str, str] = AUTH) -> httpx.Response:
    told = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
    return await service.http.post("/play/uploads", headers={**TUS, **key, **told})


async def add(service: Service, where: str, offset: int, content: bytes, **fields: str) -> httpx.Response:
    kind = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
    return await service.http.patch(where, content=content, headers={**TUS, **AUTH, **kind, **fields})


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_the_number_for_each_key_and_in_all(start: Start) -> None:
    async with start(unfinished_uploads_max=5, unfinished_uploads_per_key=3) as service:
        made = [await begin(service) for _ in range(3)]
        assert {answer.status_code for answer in made} == {201}
        fourth = await begin(service)
        assert refused(fourth) == (429, "too-many-uploads")
        assert "Retry-After" in fourth.headers
        assert [(await begin(service, key=OTHER)).status_code for _ in range(3)] == [201, 201, 429]
        # What comes in one request is none of these.
        assert (await service.http.post("/play/upload", content=wav(), headers=AUTH)).status_code == 201
        ended = await service.http.delete(made[0].headers["Location"], headers={**TUS, **AUTH})
        assert ended.status_code == 204
        assert (await begin(service)).status_code == 201


async def test_finished_refused_and_expired_ones_free_their_place(start: Start, database_url: URL) -> None:
    content = wav(seed=1)
    async with start(unfinished_uploads_per_key=1) as service:
        made = await begin(service, len(content))
        assert (await begin(service)).status_code == 429
        assert (await add(service, made.headers["Location"], 0, content)).status_code == 204
        made = await begin(service, 4)
        assert (await add(service, made.headers["Location"], 0, b"text")).status_code == 415
        assert (await begin(service)).status_code == 201
        assert (await begin(service)).status_code == 429
        engine = create_async_engine(database_url)
        async with engine.begin() as connection:
            await connection.execute(sa.text("UPDATE uploads SET expires_at = now()"))
        await engine.dispose()
        assert (await begin(service)).status_code == 201


async def test_what_they_declare(start: Start) -> None:
    async with start(unfinished_mb_max=20, unfinished_mb_per_key=12) as service:
        assert (await begin(service, 8 * MEBIBYTE)).status_code == 201
        assert refused(await begin(service, 4 * MEBIBYTE + 1)) == (507, "too-much-promised")
        assert (await begin(service, 4 * MEBIBYTE)).status_code == 201
        assert (await begin(service, 8 * MEBIBYTE, OTHER)).status_code == 201
        assert refused(await begin(service, 1, OTHER)) == (507, "too-much-promised")


async def test_a_length_that_is_declared_later(start: Start) -> None:
    async with start(unfinished_mb_max=4) as service:
        where = [(await begin(service, None)).headers["Location"] for _ in range(3)]
        assert (await add(service, where[0], 0, b"RIFF")).status_code == 204
        kept = await add(service, where[0], 4, b"", **{"Upload-Length": str(3 * MEBIBYTE)})
        assert kept.status_code == 204
        late = await asyncio.gather(
            *(add(service, path, 0, b"RIFF", **{"Upload-Length": str(MEBIBYTE - 8)}) for path in where[1:])
        )
        assert sorted(answer.status_code for answer in late) == [204, 507]
        # It stands where it stood, and may declare less.
        other = where[1:][[answer.status_code for answer in late].index(507)]
        assert (await add(service, other, 0, b"RIFF")).status_code == 204


async def test_bytes_of_uploads_without_a_length_count_as_well(start: Start) -> None:
    """They would else be a way around the bound: any number of them, each as large as an upload may be."""

    async def in_chunks(content: bytes) -> AsyncIterator[bytes]:
        yield content

    async with start(unfinished_mb_per_key=2) as service:
        first, second = [(await begin(service, None)).headers["Location"] for _ in range(2)]
        assert refused(await add(service, first, 0, bytes(3 * MEBIBYTE))) == (507, "too-much-promised")
        assert (await add(service, first, 0, bytes(MEBIBYTE))).status_code == 204
        assert refused(await add(service, second, 0, bytes(MEBIBYTE + 1))) == (507, "too-much-promised")
        assert (await add(service, second, 0, bytes(MEBIBYTE))).status_code == 204
        assert refused(await add(service, second, MEBIBYTE, b"x")) == (507, "too-much-promised")
        kind = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(MEBIBYTE)}
        chunked = await service.http.patch(second, content=in_chunks(b"x"), headers={**TUS, **AUTH, **kind})
        assert refused(chunked) == (507, "too-much-promised")
        # Nothing more has to come of this one, so that it may say so.
        ended = await add(service, first, MEBIBYTE, b"", **{"Upload-Length": str(MEBIBYTE)})
        assert refused(ended) == (415, "unsupported-media")


async def test_no_more_than_there_is_room_for(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """3,000 × 2 GiB on 75 GB."""
    async with start(disk_reserve_mb=1024) as service:
        monkeypatch.setattr(disk, "free_bytes", lambda _: 9 * 1024 * MEBIBYTE)
        answers = [await begin(service, 1024 * MEBIBYTE) for _ in range(10)]
        assert [answer.status_code for answer in answers] == [201] * 8 + [507] * 2
        assert refused(answers[-1]) == (507, "too-much-promised")


@pytest.mark.parametrize(
    "limit", [{"unfinished_uploads_max": 7}, {"unfinished_uploads_per_key": 7}, {"unfinished_mb_max": 7}]
)
async def test_a_race_for_the_last_place(start: Start, limit: dict[str, int]) -> None:
    async with start(**limit) as service, start(**limit) as beside:
        answers = await asyncio.gather(
            *(begin(one, MEBIBYTE) for _ in range(15) for one in (service, beside))
        )
        statuses = Counter(answer.status_code for answer in answers)
        assert statuses == {201: 7, (507 if "unfinished_mb_max" in limit else 429): 23}


async def test_an_upload_that_is_refused_leaves_nothing(start: Start) -> None:
    async with start(unfinished_uploads_max=1) as service:
        assert (await begin(service)).status_code == 201
        kind = {"Content-Type": "application/offset+octet-stream", "Upload-Length": "400"}
        answer = await service.http.post("/play/uploads", content=bytes(400), headers={**TUS, **AUTH, **kind})
        assert answer.status_code == 429
        assert list((service.settings.media_root / ".staging").iterdir()) == []
