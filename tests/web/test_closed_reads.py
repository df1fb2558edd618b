"""`MOSIC_REQUIRE_KEY_FOR_READS`: nothing of a clip without a key, but players get addresses that open it."""

from __future__ import annotations

import asyncio
import re
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpx
import pytest
from sqlalchemy import URL

from tests.support.databases import shown
from tests.support.service import AUTH, KEY, Service, running_service
from tests.support.sounds import wav

SECRET = "0123456789abcdef0123456789abcdef"
OTHER = "/play/01935b7e-0000-7000-8000-00000000000a"


@pytest.fixture
async def closed(tmp_path: Path, database_url: URL) -> AsyncIterator[Service]:
    async with running_service(
        tmp_path / "media",
        shown(database_url),
        require_key_for_reads=True,
        url_secret=SECRET,
        remote_allow_private=True,
        cors_origins=("https://app.example",),
    ) as running:
        yield running


async def uploaded(service: Service, seed: int = 0) -> dict[str, Any]:
    answer = await service.http.post("/play/upload", content=wav(seed=seed), headers=AUTH)
    assert answer.status_code == 201
    clip: dict[str, Any] = answer.json()
    return clip


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def expiry_of(url: str) -> int:
    return int(re.findall(r"expires=(\d+)", url)[0])


async def test_every_read_about_clips_needs_a_key(closed: Service) -> None:
    """All that the document knows, so that a route that is added later is closed as well."""
    clip = await uploaded(closed)
    document = (await closed.http.get("/openapi.json")).json()
    paths = [path for path, operations in document["paths"].items() if "get" in operations]
    about_clips = [path for path in paths if path.startswith("/play") and "/uploads" not in path]
    assert {"/play", "/play/{clip_id}", "/play/{clip_id}/stats", "/play/{clip_id}/stream"} <= {*about_clips}
    for path in about_clips:
        assert {"401", "429"} <= document["paths"][path]["get"]["responses"].keys(), path
        assert {"APIKeyHeader": []} in document["paths"][path]["get"]["security"], path
        for prefix in ("/play", "/clips", "/api/v1/clips"):
            for clip_id in (clip["id"], "nothing"):
                url = prefix + path.removeprefix("/play").replace("{clip_id}", clip_id)
                for ending in ("", "/"):
                    answer = await closed.http.get(url + ending)
                    assert code(answer) == (401, "unauthorized"), url
                    assert answer.headers["WWW-Authenticate"] == "ApiKey"
                    assert "private" in answer.headers["Cache-Control"]
                    assert (await closed.http.head(url + ending)).status_code == 401, url
        opened = await closed.http.get(path.replace("{clip_id}", clip["id"]), headers=AUTH)
        assert opened.status_code in (200, 202, 404), path
        assert opened.headers["Cache-Control"].startswith("private"), path
    for path in set(paths) - set(about_clips) - {"/play/uploads/{upload_id}"}:
        assert (await closed.http.get(path)).status_code == 200, path


async def test_a_signed_address_plays_and_seeks_without_a_key(closed: Service) -> None:
    clip = await uploaded(closed)
    url = clip["stream_url"]
    assert url == clip["audio_url"]
    assert re.fullmatch(
        rf"http://127\.0\.0\.1:\d+/play/{clip['id']}/stream\?expires=\d+&signature=[A-Za-z0-9_-]{{43}}", url
    )
    assert KEY not in url
    whole = await closed.http.get(url)
    assert (whole.status_code, whole.content) == (200, wav())
    assert whole.headers["Cache-Control"] == "private, no-cache"
    part = await closed.http.get(url, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, wav()[100:200])
    assert part.headers["Cache-Control"] == "private, no-cache"
    same = await closed.http.get(url, headers={"If-None-Match": whole.headers["ETag"]})
    assert (same.status_code, same.headers["Cache-Control"]) == (304, "private, no-cache")
    looked = await closed.http.head(url)
    assert (looked.status_code, looked.content) == (200, b"")
    under_an_alias = url.replace("/play/", "/api/v1/clips/").replace("/stream?", "/stream/?")
    assert (await closed.http.get(under_an_alias)).status_code == 200
    assert (await closed.http.get(url.replace(clip["id"], clip["id"].upper()))).status_code == 200
    # A player draws what it plays; the waveform of this clip is not there yet.
    drawn = await closed.http.get(f"{url.replace('/stream?', '/waveform?')}&points=9&format=svg")
    assert (drawn.status_code, drawn.headers["Cache-Control"]) == (202, "private, no-store")
    from_a_page = await closed.http.get(url, headers={"Origin": "https://app.example"})
    assert from_a_page.headers["Access-Control-Allow-Origin"] == "https://app.example"

    answers = [
        (await closed.http.get("/play", headers=AUTH)).json()[0],
        (await closed.http.get(f"/play/{clip['id']}", headers=AUTH)).json(),
        (await closed.http.patch(f"/play/{clip['id']}", json={"title": "x"}, headers=AUTH)).json(),
        (await closed.http.post("/play/upload", content=wav(), headers=AUTH)).json(),
        (await closed.http.get(f"/play/{clip['id']}/stats", headers=AUTH)).json(),
    ]
    for answer in answers:
        assert (await closed.http.get(answer["audio_url"])).status_code == 200


async def test_an_address_opens_nothing_else(closed: Service) -> None:
    clip, other = await uploaded(closed), await uploaded(closed, seed=1)
    url = clip["stream_url"]
    query = urlsplit(url).query
    assert code(await closed.http.get(url.replace(clip["id"], other["id"]))) == (403, "invalid-signature")
    assert code(await closed.http.get(f"{OTHER}/stream?{query}")) == (403, "invalid-signature")
    assert code(await closed.http.get(f"{OTHER}/waveform?{query}")) == (403, "invalid-signature")
    assert code(await closed.http.get(f"/play/nothing/stream?{query}")) == (403, "invalid-signature")
    assert code(await closed.http.get(f"{url}&expires=1")) == (403, "invalid-signature")
    assert code(await closed.http.get(url[:-1])) == (403, "invalid-signature")
    assert code(await closed.http.get(url.replace("signature=", "signature=%C3%A9"))) == (
        *(403, "invalid-signature"),
    )
    for path in ("/play", f"/play/{clip['id']}", f"/play/{clip['id']}/stats"):
        assert code(await closed.http.get(f"{path}?{query}")) == (401, "unauthorized")
    for path, method in ((f"/play/{clip['id']}", "DELETE"), ("/play/upload", "POST"), (url, "DELETE")):
        answer = await closed.http.request(method, path if "?" in path else f"{path}?{query}")
        assert answer.status_code in (401, 405)
    for guess in (f"api_key={KEY}", f"X-API-Key={KEY}", f"expires={int(time.time()) + 60}"):
        assert (await closed.http.get(f"/play/{clip['id']}/stream?{guess}")).status_code == 401
    # A key in the header decides, if there is one.
    assert (await closed.http.get(url[:-1], headers=AUTH)).status_code == 200
    assert (await closed.http.get(url, headers={"X-API-Key": "wrong"})).status_code == 401


async def test_after_its_time_a_seek_is_refused_and_a_fresh_address_goes_on(
    tmp_path: Path, database_url: URL
) -> None:
    async with running_service(
        tmp_path / "media", shown(database_url), require_key_for_reads=True, url_ttl_seconds=1
    ) as service:
        clip = await uploaded(service)
        await asyncio.sleep(max(0.0, expiry_of(clip["stream_url"]) - time.time()) + 0.01)
        refused = await service.http.get(clip["stream_url"], headers={"Range": "bytes=100-"})
        assert code(refused) == (403, "expired-url")
        assert "private" in refused.headers["Cache-Control"]
    async with running_service(
        tmp_path / "media", shown(database_url), require_key_for_reads=True
    ) as service:
        fresh = (await service.http.get(f"/play/{clip['id']}", headers=AUTH)).json()["stream_url"]
        # The content is the same by its ETag, so a player may go on in the middle.
        etag = f'"{clip["sha256"]}"'
        on = await service.http.get(fresh, headers={"Range": "bytes=100-", "If-Range": etag})
        assert (on.status_code, on.content) == (206, wav()[100:])


async def test_an_answer_that_has_begun_goes_on_past_the_expiry(tmp_path: Path, database_url: URL) -> None:
    content = wav(30.0)
    async with running_service(
        tmp_path / "media", shown(database_url), require_key_for_reads=True, url_ttl_seconds=5
    ) as service:
        clip = (await service.http.post("/play/upload", content=content, headers=AUTH)).json()
        async with service.http.stream("GET", clip["stream_url"]) as answer:
            pieces = answer.aiter_raw(1000)
            received = await anext(pieces)
            await asyncio.sleep(max(0.0, expiry_of(clip["stream_url"]) - time.time()) + 0.01)
            async for piece in pieces:
                received += piece
        assert received == content


@pytest.mark.parametrize("way", ["proxy", "redirect", "off"])
async def test_external_clips(tmp_path: Path, database_url: URL, empty_database_url: URL, way: str) -> None:
    """Their own address is nobody's secret of ours, and gets no signature; the way through us is closed."""
    async with (
        running_service(tmp_path / "source", shown(empty_database_url)) as source,
        running_service(
            tmp_path / "media",
            shown(database_url),
            require_key_for_reads=True,
            remote_stream=way,
            remote_allow_private=True,
        ) as service,
    ):
        audio = (await source.http.post("/play/upload", content=wav(), headers=AUTH)).json()["audio_url"]
        given = {"title": "x", "audio_url": audio}
        clip = (await service.http.post("/play", json=given, headers=AUTH)).json()
        assert clip["audio_url"] == audio
        assert "signature=" in clip["stream_url"]
        bare = clip["stream_url"].partition("?")[0]
        assert code(await service.http.get(bare)) == (401, "unauthorized")
        assert code(await service.http.get(clip["stream_url"] + "x")) == (403, "invalid-signature")
        answer = await service.http.get(clip["stream_url"])
        assert answer.status_code == {"proxy": 200, "redirect": 307, "off": 403}[way]
        assert "private" in answer.headers["Cache-Control"]
        if way == "proxy":
            assert answer.content == wav()
        elif way == "redirect":
            assert answer.headers["Location"] == audio


async def test_workers_share_a_made_secret_and_a_restart_keeps_it(tmp_path: Path, database_url: URL) -> None:
    first: SplitResult | None = None
    for key in (KEY, "another-key"):  # keys come and go, addresses hold
        async with running_service(
            tmp_path / "media", shown(database_url), require_key_for_reads=True, api_key=key
        ) as service:
            file = service.settings.made_secret_file
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            first = first or urlsplit((await uploaded(service))["stream_url"])
            assert (await service.http.get(f"{first.path}?{first.query}")).status_code == 200
            assert file.read_text().strip() not in (await service.http.get("/metrics")).text
    (tmp_path / "media/data/url_secret").unlink()
    async with running_service(
        tmp_path / "media", shown(database_url), require_key_for_reads=True
    ) as service:
        assert first
        answer = await service.http.get(f"{first.path}?{first.query}")
        assert code(answer) == (403, "invalid-signature")


async def test_public_reads_have_plain_addresses_and_no_secret(service: Service) -> None:
    clip = await uploaded(service)
    assert clip["stream_url"].endswith(f"/play/{clip['id']}/stream")
    assert not service.settings.made_secret_file.exists()
    answer = await service.http.get(clip["stream_url"] + "?expires=1&signature=x")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-cache")


async def test_the_document_has_both_schemes(closed: Service) -> None:
    document = (await closed.http.get("/openapi.json")).json()
    scheme = document["components"]["securitySchemes"]["SignedAddress"]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "query", "signature")
    streaming = document["paths"]["/play/{clip_id}/stream"]["get"]
    assert streaming["security"] == [{"APIKeyHeader": []}, {"BearerKey": []}, {"SignedAddress": []}]
    for one in ("expired-url", "invalid-signature", "remote-disabled"):
        assert f"`{one}`" in streaming["responses"]["403"]["description"]
    assert document["paths"]["/play"]["get"]["security"] == [{"APIKeyHeader": []}, {"BearerKey": []}]


async def test_nothing_is_handed_to_nginx_without_a_key_or_a_signature(
    tmp_path: Path, database_url: URL
) -> None:
    async with running_service(
        tmp_path / "media", shown(database_url), require_key_for_reads=True, accel_redirect="/_media/"
    ) as service:
        url = (await uploaded(service))["stream_url"]
        for refused in (url.partition("?")[0], url[:-1]):
            assert "X-Accel-Redirect" not in (await service.http.get(refused)).headers
        handed = await service.http.get(url)
        assert handed.headers["X-Accel-Redirect"].startswith("/_media/blobs/")
        assert handed.headers["Cache-Control"] == "private, no-cache"
