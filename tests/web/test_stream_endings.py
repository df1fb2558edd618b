"""`/play/{id}/stream.mp3`: for players and feeds that go by the ending of a URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import URL

from tests.support.databases import shown
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import ffmpeg, wav

CONTENT = wav(2.0)
SAME = ("etag", "content-type", "content-length", "content-range", "content-disposition", "accept-ranges")


async def add(service: Service, content: bytes = CONTENT) -> dict[str, Any]:
    answer = await service.http.post("/play/upload", content=content, headers=AUTH)
    assert answer.status_code == 201
    clip: dict[str, Any] = answer.json()
    return clip


def what(answer: httpx.Response) -> tuple[int, bytes, dict[str, str | None]]:
    return answer.status_code, answer.content, {name: answer.headers.get(name) for name in SAME}


@pytest.mark.parametrize("prefix", ["/play", "/clips", "/api/v1/clips"])
async def test_it_answers_as_the_stream_does(service: Service, prefix: str) -> None:
    clip = await add(service)
    plain, ended = (f"{prefix}/{clip['id']}/stream{ending}" for ending in ("", ".wav"))
    for method in ("GET", "HEAD"):
        for fields in (
            {},
            {"Range": "bytes=10-99"},
            {"Range": f"bytes={len(CONTENT)}-"},
            {"If-None-Match": f'"{clip["sha256"]}"'},
            {"If-Match": '"other"'},
        ):
            expected = await service.http.request(method, plain, headers=fields)
            for path in (ended, f"{ended}/", ended.replace(".wav", ".WAV")):
                assert what(await service.http.request(method, path, headers=fields)) == what(expected)


async def test_its_plays_count_like_any(service: Service) -> None:
    clip = await add(service)
    assert (await service.http.get(f"/play/{clip['id']}/stream.wav")).status_code == 200
    assert (await service.http.get(f"/play/{clip['id']}/stream.mp3")).status_code == 404
    stats = (await service.http.get(f"/play/{clip['id']}/stats")).json()
    assert stats["play_count"] == 1
    routes = {
        line.split('route="')[1].split('"')[0]
        for line in (await service.http.get("/metrics")).text.splitlines()
        if 'route="' in line and "/stream" in line
    }
    assert routes == {"/play/{clip_id}/stream"}


@pytest.mark.parametrize("ending", [".mp3", ".wav.mp3", ".", ".exe", ".wav.", ".w av"])
async def test_another_ending_is_none_of_the_clip(service: Service, ending: str) -> None:
    clip = await add(service)
    answer = await service.http.get(f"/play/{clip['id']}/stream{ending}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_type_with_several_endings(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "song.opus"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", path)
    clip = await add(service, path.read_bytes())
    for ending in (".ogg", ".opus"):
        answer = await service.http.get(f"/play/{clip['id']}/stream{ending}")
        assert (answer.status_code, answer.content) == (200, path.read_bytes())


async def test_other_methods_are_told_which_there_are(service: Service) -> None:
    clip = await add(service)
    answer = await service.http.post(f"/play/{clip['id']}/stream.wav")
    assert (answer.status_code, answer.json()["code"]) == (405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, HEAD"


async def test_a_signed_url_opens_it_too(tmp_path: Path, database_url: URL) -> None:
    async with running_service(
        tmp_path / "media",
        shown(database_url),
        require_key_for_reads=True,
        cors_origins=("https://a.example",),
    ) as service:
        clip = await add(service)
        url, query = clip["stream_url"].split("?")
        origin = {"Origin": "https://a.example"}
        answer = await service.http.get(f"{url}.wav?{query}", headers=origin)
        assert (answer.status_code, answer.content) == (200, CONTENT)
        assert "private" in answer.headers["cache-control"]
        assert answer.headers["access-control-allow-origin"] in ("https://a.example", "*")
        for closed in (f"{url}.wav", f"{url}.wav?{query}x"):
            assert (await service.http.get(closed)).status_code in (401, 403)


async def test_an_external_clip_has_the_ending_of_its_url(
    service: Service, tmp_path: Path, empty_database_url: URL
) -> None:
    there = await add(service)
    async with running_service(
        tmp_path / "relay", shown(empty_database_url), remote_allow_private=True
    ) as relay:
        given = {"title": "Far", "audio_url": f"{there['stream_url']}.wav"}
        clip = (await relay.http.post("/play", json=given, headers=AUTH)).json()
        answer = await relay.http.get(f"/play/{clip['id']}/stream.wav")
        assert (answer.status_code, answer.content) == (200, CONTENT)
        assert (await relay.http.get(f"/play/{clip['id']}/stream.mp3")).status_code == 404
