"""Uploads expire and are ended (tus 1.0.0, Expiration and Termination)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from tests.support.service import AUTH
from tests.support.tus import (
    UPLOADS,
    Tus,
    fresh,
)
from tests.support.waiting import until

# Expiration


async def test_what_expires_says_when_and_is_gone_then(tus: Tus) -> None:
    lasts = tus.service.settings.upload_expiry_seconds
    url = await tus.create(100)
    began = time.time()
    answer = await tus.patch(url, 0, b"x")
    expires = parsedate_to_datetime(answer.headers["Upload-Expires"]).timestamp()
    assert began - 1 <= expires - lasts <= time.time() + 1
    await tus.age(url, lasts)
    for method in ("HEAD", "GET", "DELETE"):
        assert (await tus.send(method, url)).status_code == 410
    gone = await tus.patch(url, 1, b"x")
    assert (gone.status_code, gone.json()["code"]) == (410, "upload-gone")


async def test_what_goes_on_does_not_expire(tus: Tus) -> None:
    almost = tus.service.settings.upload_expiry_seconds - 600
    audio = fresh()
    url = await tus.create(len(audio))
    for at in range(3):
        await tus.age(url, almost)
        assert (await tus.patch(url, at, audio[at : at + 1])).status_code == 204

    async def renewed() -> bool:
        return await tus.age(url, 0) - datetime.now(UTC) > timedelta(seconds=almost)

    async def over_days() -> AsyncIterator[bytes]:
        for piece in (audio[3:100], audio[100:200], audio[200:]):
            yield piece
            await tus.age(url, almost)
            await until(renewed)

    # Also within one request that takes longer.
    ended = await tus.patch(url, 3, over_days())
    assert ended.status_code == 204
    assert "Upload-Expires" not in ended.headers
    await tus.age(url, 2 * almost)
    assert (await tus.send("HEAD", url)).headers["Content-Location"] == ended.headers["Content-Location"]


async def test_every_answer_while_it_will_expire_says_so(tus: Tus) -> None:
    answer = await tus.send("POST", UPLOADS, upload_length="100")
    assert "Upload-Expires" in answer.headers
    assert "Upload-Expires" in (await tus.patch(answer.headers["Location"], 0, b"x")).headers


# Termination


async def test_what_is_ended_is_gone(tus: Tus) -> None:
    url = await tus.create(100)
    await tus.patch(url, 0, b"x")
    assert (await tus.send("DELETE", url)).status_code == 204
    assert tus.files() == []
    for method in ("HEAD", "GET", "DELETE"):
        assert (await tus.send(method, url)).status_code == 404
    assert (await tus.patch(url, 1, b"x")).status_code == 404


async def test_ending_a_finished_one_keeps_its_clip(tus: Tus) -> None:
    audio = fresh()
    url = await tus.create(len(audio))
    ended = await tus.patch(url, 0, audio)
    assert (await tus.send("DELETE", url)).status_code == 204
    assert (await tus.send("HEAD", url)).status_code == 404
    assert await tus.stream(ended) == audio


async def test_an_upload_goes_with_the_clip_that_it_became(tus: Tus) -> None:
    audio = fresh()
    url = await tus.create(len(audio))
    ended = await tus.patch(url, 0, audio)
    await tus.service.http.delete(ended.headers["Content-Location"], headers=AUTH)
    assert (await tus.send("HEAD", url)).status_code == 404


async def test_who_writes_is_interrupted_by_the_end(tus: Tus) -> None:
    url = await tus.create(1000)
    writer = tus.partial(url, declared=1000)
    await writer.begin(bytes(500))
    await until(lambda: tus.staged() == 500)
    assert await tus.offset(url) == 500
    assert (await tus.send("DELETE", url)).status_code == 204
    assert await writer.status() in (404, 410, 423)
    assert tus.files() == []


@pytest.mark.parametrize("name", ["", "/x", "/..%2f..%2fetc", "/not-a-uuid", "/" + "0" * 300])
async def test_names_that_are_no_uploads(tus: Tus, name: str) -> None:
    for method in ("HEAD", "DELETE"):
        answer = await tus.send(method, UPLOADS + name)
        assert answer.status_code in (404, 405)
