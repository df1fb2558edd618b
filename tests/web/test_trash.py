"""The trash, and bytes that take the place of others (API.md «Listing», «Routes»)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from mosic.boot import open_runtime
from mosic.core.sweep import sweep
from mosic.metrics import Metrics
from mosic.settings import Settings
from tests.support.databases import empty_database, shown
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav

_made = iter(range(30_000, 40_000))


def fresh(seconds: float = 0.1) -> bytes:
    return wav(seconds, seed=next(_made))


async def add(service: Service, content: bytes, **words: str) -> dict[str, Any]:
    answer = await service.http.put("/play/upload", params=words, content=content, headers=AUTH)
    assert answer.status_code in (200, 201), answer.text
    clip: dict[str, Any] = answer.json()
    return clip


async def delete(service: Service, clip: dict[str, Any]) -> None:
    assert (await service.http.delete(f"/play/{clip['id']}", headers=AUTH)).status_code == 204


@pytest.fixture
async def service(tmp_path: Path, database_url: URL) -> AsyncIterator[Service]:
    async with running_service(tmp_path / "media", shown(database_url), trash_days=7) as running:
        yield running


async def listed(service: Service, **query: str) -> list[str]:
    answer = await service.http.get("/play", params={"limit": "500", **query}, headers=AUTH)
    assert answer.status_code == 200, answer.text
    found = [clip["id"] for clip in answer.json()]
    assert answer.headers["x-total-count"] == str(len(found))
    return found


def blobs(service: Service) -> set[str]:
    return {path.name for path in (service.settings.media_root / "blobs").glob("*/*")}


async def test_a_deleted_clip_is_found_nowhere_but_in_the_trash(service: Service) -> None:
    content = fresh()
    clip = await add(service, content)
    await delete(service, clip)
    here = f"/play/{clip['id']}"
    for method, path, body in (
        ("GET", here, None),
        ("HEAD", here, None),
        ("PATCH", here, b'{"title": "x"}'),
        ("DELETE", here, None),
        ("GET", f"{here}/stream", None),
        ("HEAD", f"{here}/stream", None),
        ("GET", f"{here}/stream.wav", None),
        ("GET", f"{here}/stats", None),
        ("PUT", f"{here}/audio", fresh()),
    ):
        answer = await service.http.request(method, path, content=body, headers=AUTH)
        assert answer.status_code == 404, (method, path)
    assert clip["id"] not in await listed(service)
    assert await listed(service, sha256=clip["sha256"]) == []
    assert clip["id"] in await listed(service, trash="true")


async def test_the_trash_is_shown_to_keys_alone(service: Service) -> None:
    assert (await service.http.get("/play?trash=true")).status_code == 401
    wrong = {"X-API-Key": "wrong"}
    assert (await service.http.get("/play?trash=true", headers=wrong)).status_code == 401
    assert (await service.http.get("/play?trash=false")).status_code == 200
    assert (await service.http.get("/play?trash=perhaps", headers=AUTH)).status_code == 422


async def test_the_trash_has_pages_too(own: Service) -> None:
    deleted = [await add(own, fresh()) for _ in range(3)]
    await add(own, fresh())
    for clip in deleted:
        await delete(own, clip)
    found: list[str] = []
    url = "/play?trash=true&limit=1"
    while url:
        answer = await own.http.get(url, headers=AUTH)
        assert answer.headers["x-total-count"] == "3"
        found += [clip["id"] for clip in answer.json()]
        url = answer.links["next"]["url"] if "next" in answer.links else ""
    assert found == [clip["id"] for clip in reversed(deleted)]


async def test_a_clip_comes_back_with_all_that_it_had(service: Service) -> None:
    content = fresh()
    clip = await add(service, content, title="Kept", artist="Ana")
    here = f"/play/{clip['id']}"
    assert (await service.http.get(f"{here}/stream")).content == content
    await delete(service, clip)
    assert (await service.http.post(f"{here}/restore")).status_code == 401
    answer = await service.http.post(f"{here}/restore", headers=AUTH)
    assert answer.status_code == 200
    restored = answer.json()
    assert answer.headers["etag"] == (await service.http.get(here)).headers["etag"]
    same = ("id", "title", "artist", "sha256", "created_at", "duration", "stream_url")
    assert {name: restored[name] for name in same} == {name: clip[name] for name in same}
    assert restored["play_count"] == 1
    assert (await service.http.get(f"{here}/stream")).content == content
    assert clip["id"] in await listed(service)
    # Once more changes nothing.
    again = await service.http.post(f"{here}/restore", headers=AUTH)
    assert (again.status_code, again.headers["etag"]) == (200, answer.headers["etag"])


async def test_what_never_was_cannot_be_restored(service: Service) -> None:
    path = "/play/01935b7e-0000-7000-8000-000000000000/restore"
    assert (await service.http.post(path, headers=AUTH)).status_code == 404
    assert (await service.http.post("/play/nonsense/restore", headers=AUTH)).status_code == 404


async def test_the_same_bytes_sent_again_restore_the_clip(service: Service) -> None:
    content = fresh()
    clip = await add(service, content, title="First")
    await delete(service, clip)
    answers = await asyncio.gather(
        *(service.http.put("/play/upload?title=Second", content=content, headers=AUTH) for _ in range(8))
    )
    for answer in answers:
        assert answer.status_code == 200
        assert (answer.json()["id"], answer.json()["title"]) == (clip["id"], "First")
        assert answer.headers["mosic-ignored-fields"] == "title"
    assert (await service.http.get(f"/play/{clip['id']}/stream")).content == content
    assert await listed(service, sha256=clip["sha256"]) == [clip["id"]]


async def test_a_delete_heeds_if_match_and_changes_the_etag(service: Service) -> None:
    clip = await add(service, fresh())
    here = f"/play/{clip['id']}"
    etag = (await service.http.get(here)).headers["etag"]
    other = {**AUTH, "If-Match": '"other"'}
    assert (await service.http.delete(here, headers=other)).status_code == 412
    assert (await service.http.delete(here, headers={**AUTH, "If-Match": etag})).status_code == 204
    restored = await service.http.post(f"{here}/restore", headers=AUTH)
    assert restored.headers["etag"] != etag


async def test_an_external_clip_goes_to_the_trash_as_well(service: Service) -> None:
    body = {"title": "Elsewhere", "audio_url": "https://example.org/a.mp3"}
    clip = (await service.http.post("/play", json=body, headers=AUTH)).json()
    await delete(service, clip)
    assert clip["id"] in await listed(service, trash="true")
    answer = await service.http.post(f"/play/{clip['id']}/restore", headers=AUTH)
    assert answer.json()["audio_url"] == body["audio_url"]


@pytest.fixture
async def own(tmp_path: Path, postgres: Any) -> Any:
    async with (
        empty_database(postgres) as url,
        running_service(tmp_path / "media", url, trash_days=7, sweep_seconds=0) as running,
    ):
        yield running


async def swept(service: Service, **changes: Any) -> None:
    """A sweep as another process does it."""
    settings = Settings(_env_file=None, **{**service.settings.model_dump(exclude={"api_keys"}), **changes})
    async with open_runtime(settings, Metrics()) as rt:
        assert await sweep(rt, grace_seconds=0) is not None


async def test_the_sweep_empties_the_trash_in_time(own: Service) -> None:
    kept, gone = await add(own, fresh()), await add(own, fresh())
    await delete(own, gone)
    assert len(blobs(own)) == 2
    await swept(own)
    assert await listed(own, trash="true") == [gone["id"]]
    assert len(blobs(own)) == 2
    await asyncio.sleep(0.1)
    await swept(own, trash_days=0.000_001)
    assert await listed(own, trash="true") == []
    assert (await own.http.post(f"/play/{gone['id']}/restore", headers=AUTH)).status_code == 404
    assert len(blobs(own)) == 1
    assert (await own.http.get(f"/play/{kept['id']}/stream")).status_code == 200


async def test_without_a_trash_a_clip_is_gone_at_once(tmp_path: Path, postgres: Any) -> None:
    async with (
        empty_database(postgres) as url,
        running_service(tmp_path / "media", url, trash_days=0) as service,
    ):
        clip = await add(service, fresh())
        await delete(service, clip)
        assert blobs(service) == set()
        assert await listed(service, trash="true") == []
        assert (await service.http.post(f"/play/{clip['id']}/restore", headers=AUTH)).status_code == 404


async def test_a_resumable_upload_of_a_deleted_clip_is_forgotten(service: Service) -> None:
    content = fresh()
    fields = {**AUTH, "Tus-Resumable": "1.0.0"}
    created = await service.http.post(
        "/play/uploads",
        content=content,
        headers={
            **fields,
            "Upload-Length": str(len(content)),
            "Content-Type": "application/offset+octet-stream",
        },
    )
    clip_path = created.headers["content-location"]
    upload = created.headers["location"]
    assert (await service.http.head(upload, headers=fields)).status_code == 200
    assert (await service.http.delete(clip_path, headers=AUTH)).status_code == 204
    assert (await service.http.head(upload, headers=fields)).status_code in (404, 410)


async def test_other_bytes_take_the_place_of_a_clips(service: Service) -> None:
    old, new = fresh(0.2), fresh(0.5)
    clip = await add(service, old, title="Kept", artist="Ana")
    here = f"/play/{clip['id']}"
    before = await service.http.get(f"{here}/stream")
    count = len(blobs(service))
    etag = (await service.http.get(here)).headers["etag"]
    stale = {**AUTH, "If-Match": '"other"'}
    assert (await service.http.put(f"{here}/audio", content=new, headers=stale)).status_code == 412
    answer = await service.http.put(f"{here}/audio", content=new, headers={**AUTH, "If-Match": etag})
    assert answer.status_code == 200, answer.text
    changed = answer.json()
    assert changed["id"] == clip["id"]
    assert (changed["title"], changed["artist"], changed["play_count"]) == ("Kept", "Ana", 1)
    assert changed["duration"] == pytest.approx(0.5, abs=0.001)
    assert changed["size"] == len(new)
    assert changed["sha256"] == hashlib.sha256(new).hexdigest()
    assert changed["created_at"] == clip["created_at"]
    assert answer.headers["etag"] != etag
    after = await service.http.get(f"{here}/stream")
    assert after.content == new
    assert after.headers["etag"] == f'"{changed["sha256"]}"'
    # What a client kept of the old bytes is not taken for the new ones.
    asked = {"If-None-Match": before.headers["etag"]}
    assert (await service.http.get(f"{here}/stream", headers=asked)).status_code == 200
    ranged = {"If-Range": before.headers["etag"], "Range": "bytes=10-19"}
    assert (await service.http.get(f"{here}/stream", headers=ranged)).status_code == 200
    assert len(blobs(service)) == count
    # The old bytes are known no more: sent again they are a clip of their own.
    assert (await add(service, old))["id"] != clip["id"]


async def test_the_date_of_a_stream_moves_with_its_bytes(service: Service) -> None:
    clip = await add(service, fresh())
    stream = f"/play/{clip['id']}/stream"
    dated = (await service.http.head(stream)).headers["last-modified"]
    await asyncio.sleep(1.1)
    answer = await service.http.put(f"/play/{clip['id']}/audio", content=fresh(), headers=AUTH)
    assert answer.status_code == 200
    asked = {"If-Modified-Since": dated}
    assert (await service.http.get(stream, headers=asked)).status_code == 200
    assert (await service.http.head(stream)).headers["last-modified"] != dated


async def test_bytes_that_another_clip_has_are_not_taken(service: Service) -> None:
    content = fresh()
    one, other = await add(service, content), await add(service, fresh())
    for deleted in (False, True):
        if deleted:
            await delete(service, one)
        answer = await service.http.put(f"/play/{other['id']}/audio", content=content, headers=AUTH)
        assert answer.status_code == 409
        assert (answer.json()["code"], answer.json()["clip_id"]) == ("bytes-taken", one["id"])
    assert (await service.http.get(f"/play/{other['id']}")).json()["sha256"] == other["sha256"]


async def test_a_refused_replacement_changes_nothing(service: Service) -> None:
    content = fresh()
    clip = await add(service, content)
    here = f"/play/{clip['id']}"
    count = len(blobs(service))
    for body, status in ((b"no sound", 415), (b"", 415), (content[:30], 422)):
        answer = await service.http.put(f"{here}/audio", content=body, headers=AUTH)
        assert answer.status_code == status, answer.text
    same = await service.http.put(f"{here}/audio", content=content, headers=AUTH)
    assert same.status_code == 200
    assert same.headers["etag"] == (await service.http.get(here)).headers["etag"]
    assert (await service.http.put(f"{here}/audio", content=fresh())).status_code == 401
    assert (await service.http.get(f"{here}/stream")).content == content
    assert len(blobs(service)) == count


async def test_an_external_clip_can_get_bytes_of_its_own(service: Service) -> None:
    body = {"title": "Elsewhere", "audio_url": "https://example.org/a.mp3"}
    clip = (await service.http.post("/play", json=body, headers=AUTH)).json()
    content = fresh()
    form = {"file": ("new.wav", content)}
    answer = await service.http.put(
        f"/play/{clip['id']}/audio", files=form, data={"title": "Other"}, headers=AUTH
    )
    assert answer.status_code == 200
    assert answer.json()["title"] == "Elsewhere"
    assert answer.headers["mosic-ignored-fields"] == "title"
    assert answer.json()["audio_url"] == answer.json()["stream_url"]
    assert (await service.http.get(answer.json()["stream_url"])).content == content


async def test_listeners_get_old_or_new_bytes_and_never_a_mixture(service: Service) -> None:
    versions = [fresh(1) for _ in range(6)]
    clip = await add(service, versions[0])
    here = f"/play/{clip['id']}"
    known = {f'"{hashlib.sha256(version).hexdigest()}"': version for version in versions}
    replaced = asyncio.Event()

    async def listen() -> int:
        heard = 0
        while not replaced.is_set() or not heard:
            answer = await service.http.get(f"{here}/stream")
            assert answer.status_code == 200
            assert known[answer.headers["etag"]] == answer.content
            heard += 1
        return heard

    listening = [asyncio.create_task(listen()) for _ in range(4)]
    try:
        for version in versions[1:]:
            answer = await service.http.put(f"{here}/audio", content=version, headers=AUTH)
            assert answer.status_code == 200
    finally:
        replaced.set()
    assert all(await asyncio.gather(*listening))


async def test_replacements_and_deletes_at_once_leave_one_outcome(service: Service) -> None:
    for _ in range(5):
        clip = await add(service, fresh())
        here = f"/play/{clip['id']}"
        contents = [fresh() for _ in range(3)]
        answers = await asyncio.gather(
            *(service.http.put(f"{here}/audio", content=one, headers=AUTH) for one in contents),
            service.http.delete(here, headers=AUTH),
        )
        assert answers[-1].status_code == 204
        assert {answer.status_code for answer in answers[:-1]} <= {200, 404}
        assert (await service.http.get(f"{here}/stream")).status_code == 404
        restored = (await service.http.post(f"{here}/restore", headers=AUTH)).json()
        heard = (await service.http.get(f"{here}/stream")).content
        assert hashlib.sha256(heard).hexdigest() == restored["sha256"]
