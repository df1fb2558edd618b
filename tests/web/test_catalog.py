"""List, get, edit, remove, stats, external clips."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.support.service import AUTH, Service
from tests.support.sounds import wav

UNKNOWN = "01935b7e-0000-7000-8000-000000000000"


async def add(service: Service, seed: int = 0) -> dict[str, Any]:
    answer = await service.http.post(
        "/play/upload", files={"file": (f"clip {seed}.wav", wav(seed=seed))}, headers=AUTH
    )
    assert answer.status_code == 201
    clip: dict[str, Any] = answer.json()
    return clip


def next_of(answer: httpx.Response) -> str | None:
    link = answer.headers.get("link")
    return link.partition(">")[0].removeprefix("<") if link else None


async def test_pages_newest_first_and_complete_while_clips_are_added(service: Service) -> None:
    ids = [(await add(service, seed))["id"] for seed in range(7)]
    answer = await service.http.get("/play?limit=3")
    assert answer.headers["x-total-count"] == "7"
    seen = [clip["id"] for clip in answer.json()]
    await add(service, 100)
    while url := next_of(answer):
        answer = await service.http.get(url)
        seen += [clip["id"] for clip in answer.json()]
    assert seen == ids[::-1]


async def test_last_page_has_no_link(service: Service) -> None:
    for seed in range(3):
        await add(service, seed)
    assert next_of(await service.http.get("/play?limit=3")) is None
    assert next_of(await service.http.get("/play?limit=2")) is not None


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "cursor=nonsense", "sha256=abc"])
async def test_wrong_query_is_422_not_a_silent_clamp(service: Service, query: str) -> None:
    answer = await service.http.get(f"/play?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
    assert answer.json()["errors"][0]["loc"] == ["query", query.partition("=")[0]]


async def test_find_by_bytes(service: Service) -> None:
    clip, _ = await add(service, 1), await add(service, 2)
    for digest in (clip["sha256"], clip["sha256"].upper()):
        assert [found["id"] for found in (await service.http.get(f"/play?sha256={digest}")).json()] == [
            clip["id"]
        ]
    assert (await service.http.get(f"/play?sha256={'0' * 64}")).json() == []


@pytest.mark.parametrize("prefix", ["/play", "/clips", "/api/v1/clips"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_every_spelling_answers_without_a_redirect(service: Service, prefix: str, slash: str) -> None:
    clip = await add(service)
    listed = await service.http.get(f"{prefix}{slash}")
    assert (listed.status_code, [one["id"] for one in listed.json()]) == (200, [clip["id"]])
    for tail in ("", "/stats", "/works", "/stream"):
        assert (await service.http.get(f"{prefix}/{clip['id']}{tail}{slash}")).status_code == 200
    upload = await service.http.post(f"{prefix}/upload{slash}", content=wav(), headers=AUTH)
    assert upload.status_code == 200


async def test_clip_is_a_uuid7_and_found_again(service: Service) -> None:
    clip = await add(service)
    assert UUID(clip["id"]).version == 7
    answer = await service.http.get(f"/play/{clip['id']}")
    assert answer.json() == clip
    head = await service.http.head(f"/play/{clip['id']}")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == answer.headers["content-length"]


@pytest.mark.parametrize("tail", ["", "/stats", "/works", "/stream"])
@pytest.mark.parametrize(
    "name", ["01935b7e-0000-7000-8000-000000000000", "nonsense", "0", "%00", "..%2f..%2fetc"]
)
async def test_unknown_clip_is_404(service: Service, name: str, tail: str) -> None:
    answer = await service.http.get(f"/play/{name}{tail}")
    assert answer.status_code == 404
    assert answer.json()["code"] in ("clip-not-found", "not-found")


async def test_merge_patch(service: Service) -> None:
    clip = await add(service)
    url = f"/play/{clip['id']}"
    answer = await service.http.patch(url, json={"title": "New", "artist": "A"}, headers=AUTH)
    assert answer.status_code == 200
    edited = answer.json()
    assert (edited["title"], edited["artist"]) == ("New", "A")
    assert edited["updated_at"] > clip["updated_at"]
    cleared = (await service.http.patch(url, json={"artist": None}, headers=AUTH)).json()
    assert (cleared["title"], cleared["artist"]) == ("New", None)
    assert (await service.http.get(url)).json() == cleared


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"title": null}', 422, "invalid-request"),
        (b'{"title": ""}', 422, "invalid-request"),
        (b'{"title": "  "}', 422, "invalid-request"),
        (b'{"sha256": "00"}', 422, "invalid-request"),
        (b'{"artist": "a\\u0000b"}', 422, "invalid-request"),
        (b'{"artist": "\\ud800"}', 400, "malformed-request"),
        (b'{"track_number": 4294967296}', 422, "invalid-request"),
        (b"[]", 422, "invalid-request"),
        (b"{", 400, "malformed-request"),
        (b"\xff", 400, "malformed-request"),
        (b"", 400, "malformed-request"),
        (b"1" * 300_000, 413, "too-large"),
    ],
)
async def test_wrong_edit_changes_nothing(service: Service, body: bytes, status: int, code: str) -> None:
    clip = await add(service)
    url = f"/play/{clip['id']}"
    answer = await service.http.patch(url, content=body, headers=AUTH)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await service.http.get(url)).json() == clip


async def test_edit_and_delete_honour_if_match(service: Service) -> None:
    clip = await add(service)
    url = f"/play/{clip['id']}"
    etag = (await service.http.get(url)).headers["etag"]
    edited = await service.http.patch(url, json={"title": "B"}, headers=AUTH | {"If-Match": etag})
    assert edited.status_code == 200
    for method, body in (("PATCH", b'{"title": "C"}'), ("DELETE", b"")):
        stale = await service.http.request(method, url, content=body, headers=AUTH | {"If-Match": etag})
        assert (stale.status_code, stale.json()["code"]) == (412, "precondition-failed")
    assert (await service.http.get(url)).json()["title"] == "B"
    gone = await service.http.delete(url, headers=AUTH | {"If-Match": f'"x", {edited.headers["etag"]}'})
    assert gone.status_code == 204


async def test_a_deleted_clip_is_found_no_more(service: Service) -> None:
    clip = await add(service)
    answer = await service.http.delete(f"/play/{clip['id']}", headers=AUTH)
    assert (answer.status_code, answer.content) == (204, b"")
    for method, tail in (("GET", ""), ("GET", "/stream"), ("DELETE", ""), ("PATCH", "")):
        again = await service.http.request(
            method, f"/play/{clip['id']}{tail}", headers=AUTH, content=b"{}" if method == "PATCH" else None
        )
        assert (again.status_code, again.json()["code"]) == (404, "clip-not-found")
    assert (await service.http.post("/play/upload", content=wav(), headers=AUTH)).status_code == 201


async def test_delete_twice_at_once(service: Service) -> None:
    clip = await add(service)
    answers = await asyncio.gather(
        *(service.http.delete(f"/play/{clip['id']}", headers=AUTH) for _ in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [204, 404, 404, 404]


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_writes_need_the_key(service: Service, method: str) -> None:
    clip = await add(service)
    for headers in ({}, {"X-API-Key": "wrong"}):
        answer = await service.http.request(method, f"/play/{clip['id']}", content=b"{}", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "ApiKey"
    assert (await service.http.get(f"/play/{clip['id']}")).json() == clip


async def test_external_clip(service: Service) -> None:
    url = "https://radio.example/stream.mp3"
    answer = await service.http.post(
        "/play",
        json={"title": "Far", "audio_url": url, "duration": 12.5, "genre": "Talk", "mood": "ignored"},
        headers=AUTH,
    )
    assert answer.status_code == 201
    clip = answer.json()
    assert answer.headers["location"] == f"/play/{clip['id']}"
    assert clip["audio_url"] == url
    assert clip["stream_url"] == f"{service.url}/play/{clip['id']}/stream"
    assert (clip["duration"], clip["genre"]) == (12.5, "Talk")
    assert (clip["size"], clip["sha256"], clip["codec"]) == (None, None, None)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/a.mp3", "http://169.254.169.254/x", "file:///etc/passwd", "http://2130706433/"]
)
async def test_external_address_that_is_not_public_is_refused(service: Service, url: str) -> None:
    answer = await service.http.post("/play", json={"title": "x", "audio_url": url}, headers=AUTH)
    assert (answer.status_code, answer.json()["code"]) == (422, "remote-refused")
    assert (await service.http.get("/play")).json() == []


@pytest.mark.parametrize(
    "body", [{}, {"title": "x"}, {"audio_url": "http://a.example/b"}, {"title": "x", "audio_url": 1}]
)
async def test_external_clip_with_missing_words(service: Service, body: dict[str, Any]) -> None:
    answer = await service.http.post("/play", json=body, headers=AUTH)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")


async def test_stats(service: Service) -> None:
    clip = await add(service)
    for _ in range(3):
        await service.http.get(f"/play/{clip['id']}/stream")
    stats = (await service.http.get(f"/play/{clip['id']}/stats")).json()
    assert stats["song_id"] == stats["id"] == clip["id"]
    assert stats["play_count"] == 3
    assert stats["last_played_at"] >= clip["created_at"]
    assert set(stats) == {
        *("song_id", "id", "title", "description", "artist", "genre", "duration", "audio_url"),
        *("play_count", "last_played_at", "bytes_streamed", "created_at"),
    }
