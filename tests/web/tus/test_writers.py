"""Connections that break, and who comes after: one writer at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster
from sqlalchemy import URL

from mosic.settings.timings import Timings
from tests.support.databases import shown
from tests.support.service import running_service
from tests.support.tus import (
    Tus,
    checksum,
    fresh,
)
from tests.support.waiting import until


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_what_came_before_a_connection_broke_is_kept(tus: Tus, how: str) -> None:
    audio = fresh(20)
    url = await tus.create(len(audio))
    broken = tus.partial(url, declared=len(audio))
    await broken.begin(audio[:200_000])
    if how == "abort":
        # The system throws away what was not read from a connection that is reset.
        await until(lambda: tus.staged() == 200_000)
        await broken.abort()
    else:
        await broken.close()
    offset = await tus.offset(url)
    assert offset == 200_000
    ended = await tus.patch(url, offset, audio[offset:])
    assert ended.status_code == 204
    assert await tus.stream(ended) == audio


async def test_a_piece_with_a_checksum_counts_whole_or_not_at_all(tus: Tus) -> None:
    url = await tus.create(1000)
    extra = f"Upload-Checksum: {checksum('sha1', bytes(500))}\r\n"
    broken = tus.partial(url, declared=500, extra=extra)
    await broken.begin(bytes(400))
    await until(lambda: tus.staged() == 400)
    await broken.abort()
    assert await tus.offset(url) == 0
    assert (await tus.patch(url, 0, bytes(500))).status_code == 204


async def test_whole_although_the_last_chunk_was_not_ended(tus: Tus) -> None:
    audio = fresh()
    url = await tus.create(len(audio))
    broken = tus.partial(url, declared=None)
    await broken.begin(f"{len(audio):x}\r\n".encode() + audio)
    await until(lambda: tus.staged() == len(audio))
    await broken.abort()
    answer = await tus.send("HEAD", url)
    assert answer.headers["Upload-Offset"] == str(len(audio))
    assert await tus.stream(answer) == audio


@pytest.mark.parametrize("sent", [0, 1, 300_000, 3_000_000])
async def test_a_stalled_writer_is_taken_over(tus: Tus, sent: int) -> None:
    """Its connection is as dead as one can be without anybody being told."""
    audio = fresh(200)
    assert len(audio) > 3_000_000
    url = await tus.create(len(audio))
    stalled = tus.partial(url, declared=len(audio))
    await stalled.begin(audio[:sent])
    await until(lambda: tus.staged() == sent)
    # As a client does that comes back: it looks, and goes on from there.
    offset = await tus.offset(url)
    assert offset == sent
    ended = await tus.patch(url, offset, audio[offset:])
    assert ended.status_code == 204
    assert await tus.stream(ended) == audio
    assert await stalled.status() == 423
    await stalled.close()


async def test_a_living_writer_is_not_taken_over(tmp_path: Path, database_url: URL) -> None:
    timings = Timings(writer_silence=20)
    async with running_service(tmp_path / "media", shown(database_url), timings=timings) as service:
        tus, audio, seen = Tus(service), fresh(0.5), asyncio.Event()
        url = await tus.create(len(audio))

        async def slowly() -> AsyncIterator[bytes]:
            at = 0
            while not seen.is_set():
                yield audio[at : at + 1]
                at += 1
                await asyncio.sleep(0.1)
            yield audio[at:]

        living = asyncio.create_task(tus.patch(url, 0, slowly()))
        await until(tus.staged)
        assert (await tus.patch(url, 0, audio)).status_code == 409
        assert 0 < await tus.offset(url) < len(audio)
        seen.set()
        ended = await living
        assert ended.status_code == 204
        assert await tus.stream(ended) == audio


@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.parametrize("size", [1, 70_000, 3_000_000])
async def test_of_many_writers_at_one_offset_one_wins(tus: Tus, count: int, size: int) -> None:
    url = await tus.create(10_000_000)
    bodies = [bytes([65 + n]) * size for n in range(count)]
    answers = await asyncio.gather(*(tus.patch(url, 0, body) for body in bodies))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(204) == 1
    assert set(statuses) <= {204, 409, 423}
    assert await tus.offset(url) == size
    # What is there is the winner's, and only the winner's.
    (staged,) = [path for path in tus.files() if path.suffix == ".upload"]
    assert staged.read_bytes() == bodies[statuses.index(204)]


async def test_other_requests_go_on_while_an_upload_is_received(tus: Tus) -> None:
    """Nobody holds a connection to the database, of which there are four."""
    urls = [await tus.create(1000) for _ in range(12)]
    stalled = [tus.partial(url, declared=1000) for url in urls]
    for request in stalled:
        await request.begin(bytes(10))
    await until(lambda: tus.staged() == 120)
    assert await tus.clips(b"") == []
    for request in stalled:
        await request.close()


async def test_a_sender_that_stalls_is_told_to_go_on(tmp_path: Path, database_url: URL) -> None:
    """By a status after which clients do: tus-js-client gives up after a 408."""
    async with running_service(tmp_path / "media", shown(database_url), upload_idle_seconds=0.3) as service:
        tus = Tus(service)
        url = await tus.create(1000)
        stalled = tus.partial(url, declared=1000)
        await stalled.begin(bytes(500))
        assert await stalled.status() == 503
        assert await tus.offset(url) == 500
        await tus.close()


async def test_nothing_blocks_the_loop(tus: Tus) -> None:
    buster = BlockBuster("mosic")
    buster.activate()
    try:
        audio = fresh(20)
        url = await tus.create(len(audio))
        piece = audio[:1000]
        assert (await tus.patch(url, 0, piece, upload_checksum=checksum("sha1", piece))).status_code == 204
        stalled = tus.partial(url, declared=len(audio) - 1000, offset=1000)
        await stalled.begin(audio[1000:5000])
        await until(lambda: tus.staged() == 5000)
        ended = await tus.patch(url, await tus.offset(url), audio[5000:])
        assert await tus.stream(ended) == audio
        assert (await tus.send("DELETE", url)).status_code == 204
    finally:
        buster.deactivate()


async def test_metrics_know_uploads_by_their_route_and_outcome(tus: Tus) -> None:
    url = await tus.create(4)
    assert (await tus.patch(url, 0, b"text")).status_code == 415
    shown_metrics = (await tus.service.http.get("/metrics")).text
    assert 'mosic_uploads_total{outcome="unsupported-media"}' in shown_metrics
    labels = 'method="PATCH",route="/play/uploads/{upload_id}",status="415"'
    assert f"mosic_total_api_requests_total{{{labels}}}" in shown_metrics
    assert url.rpartition("/")[2] not in shown_metrics
