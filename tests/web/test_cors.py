"""Cross-origin requests, as a browser makes them (Fetch standard)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from mosic.errors import StartupError
from mosic.settings import load_settings
from tests.support.databases import shown
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav

ORIGIN = "https://app.example"
OTHER = "https://evil.example"


@pytest.fixture
async def open_service(tmp_path: Path, database_url: URL) -> AsyncIterator[Service]:
    """Open to two origins."""
    async with running_service(
        tmp_path / "media", shown(database_url), cors_origins=f"{ORIGIN}, http://localhost:5173"
    ) as running:
        yield running


def listed(value: str) -> set[str]:
    return {part.strip().lower() for part in value.split(",")}


async def test_closed_by_default(service: Service) -> None:
    answer = await service.http.get("/play", headers={"Origin": ORIGIN})
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "PATCH"}
    answer = await service.http.options("/play/uploads", headers=preflight)
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_a_page_may_upload_and_seek(open_service: Service) -> None:
    http = open_service.http
    for path, method, fields in (
        ("/play/uploads", "POST", "tus-resumable,upload-length,upload-metadata,x-api-key"),
        ("/play/uploads/x", "PATCH", "content-type,tus-resumable,upload-checksum,upload-offset,x-api-key"),
        ("/play/uploads/x", "HEAD", "tus-resumable,x-api-key"),
        ("/play/uploads/x", "DELETE", "tus-resumable,x-api-key,x-http-method-override"),
        ("/play/x/stream", "GET", "range,if-range"),
        ("/play/x/stream", "GET", "accept-encoding,cache-control,icy-metadata,if-range,pragma,range"),
        ("/clips/x/stream", "HEAD", "accept,authorization,x-requested-with"),
        ("/play", "GET", "authorization"),
        ("/play/x", "PATCH", "content-type,if-match,x-api-key"),
        ("/play/upload", "PUT", "content-type,repr-digest,content-digest,x-api-key,x-request-id"),
        ("/play/upload", "POST", "content-disposition,content-range,x-api-key"),
    ):
        preflight = {
            "Origin": ORIGIN,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": fields,
        }
        answer = await http.options(path, headers=preflight)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert method.lower() in listed(answer.headers["Access-Control-Allow-Methods"])
        assert listed(fields) <= listed(answer.headers["Access-Control-Allow-Headers"])
        assert "origin" in listed(answer.headers["Vary"])


async def test_a_page_may_read_what_clients_need(open_service: Service) -> None:
    answer = await open_service.http.get("/play", headers={"Origin": ORIGIN})
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert listed(answer.headers["Access-Control-Expose-Headers"]) >= listed(
        "Upload-Offset, Upload-Length, Upload-Metadata, Upload-Expires, Upload-Defer-Length, Location, "
        "Content-Location, Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, Tus-Checksum-Algorithm, "
        "ETag, Content-Range, Accept-Ranges, Link, X-Total-Count, X-Request-ID"
    )


async def test_players_may_read_what_they_seek_by(open_service: Service) -> None:
    clip = (await open_service.http.post("/play/upload", content=wav(), headers=AUTH)).json()
    for path in (clip["stream_url"], f"/clips/{clip['id']}/stream"):
        for method, fields, status in (
            ("GET", {}, 200),
            ("GET", {"Range": "bytes=0-1"}, 206),
            ("GET", {"Range": "bytes=99999999-"}, 416),
            ("GET", {"If-None-Match": "*"}, 304),
            ("HEAD", {}, 200),
        ):
            answer = await open_service.http.request(method, path, headers={"Origin": ORIGIN, **fields})
            assert answer.status_code == status
            assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
            assert listed(answer.headers["Access-Control-Expose-Headers"]) >= listed(
                "Content-Range, Content-Length, Accept-Ranges, ETag, Last-Modified, Location, "
                "Content-Disposition, Retry-After, X-Request-ID"
            )


async def test_errors_can_be_read_too(open_service: Service) -> None:
    for path in ("/play/none", "/nowhere", "/play/uploads/x"):
        answer = await open_service.http.get(path, headers={"Origin": ORIGIN})
        assert answer.status_code in (401, 404)
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "x-request-id" in listed(answer.headers["Access-Control-Expose-Headers"])


async def test_other_origins_get_nothing(open_service: Service) -> None:
    answer = await open_service.http.get("/play", headers={"Origin": OTHER})
    assert "Access-Control-Allow-Origin" not in answer.headers
    preflight = {"Origin": OTHER, "Access-Control-Request-Method": "GET"}
    answer = await open_service.http.options("/play", headers=preflight)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "bad-request"
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_a_preflight_is_no_question_for_tus(open_service: Service) -> None:
    """And the other way round: without a method to ask for it is no preflight."""
    asked = await open_service.http.options("/play/uploads", headers={"Origin": ORIGIN})
    assert asked.status_code == 204
    assert asked.headers["Tus-Version"] == "1.0.0"
    assert asked.headers["Access-Control-Allow-Origin"] == ORIGIN


async def test_open_to_all(tmp_path: Path, database_url: URL) -> None:
    async with running_service(tmp_path / "media", shown(database_url), cors_origins="*") as service:
        answer = await service.http.get("/play", headers={"Origin": OTHER, **AUTH})
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    "text", ["app.example", "https://app.example/path", "https://*.example/", "https://a b"]
)
def test_what_is_no_origin(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSIC_CORS_ORIGINS", text)
    with pytest.raises(StartupError, match="MOSIC_CORS_ORIGINS"):
        load_settings()
