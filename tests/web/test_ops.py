"""/health, /ready, /metrics, the API document."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from tests.conftest import shown
from tests.service import AUTH, Service, running_service
from tests.sounds import wav


async def test_health_and_ready(service: Service) -> None:
    assert (await service.http.get("/health")).json() == {"status": "ok"}
    assert (await service.http.get("/ready")).json() == {"status": "ready"}


async def test_ready_names_the_store_when_it_is_gone(service: Service) -> None:
    root = service.settings.media_root
    shutil.rmtree(root)
    root.write_text("no folder any more")
    answer = await service.http.get("/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.json()["failed"] == ["store"]
    assert (await service.http.get("/health")).status_code == 200


async def test_ready_names_the_database_when_it_is_at_another_revision(
    tmp_path: Path, own_database_url: URL
) -> None:
    async with running_service(tmp_path / "media", shown(own_database_url)) as service:
        engine = create_async_engine(own_database_url)
        async with engine.begin() as connection:
            await connection.execute(sa.text("UPDATE alembic_version SET version_num = 'older'"))
        await engine.dispose()
        answer = await service.http.get("/ready")
    assert (answer.status_code, answer.json()["failed"]) == (503, ["database"])


async def scrape(service: Service) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = (await service.http.get("/metrics")).text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_metrics_tell_what_happened(service: Service) -> None:
    content = wav()
    clip = (await service.http.post("/play/upload", content=content, headers=AUTH)).json()
    await service.http.post("/play/upload", content=content, headers=AUTH)
    await service.http.post("/play/upload", content=b"text", headers=AUTH)
    await service.http.get(f"/play/{clip['id']}/stream")
    await service.http.get(f"/clips/{clip['id']}/stream", headers={"Range": "bytes=100-199"})
    await service.http.get("/no/such/path")
    await service.http.get(f"/play/{clip['id']}")

    found = await scrape(service)

    def value(name: str, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    assert value("mosic_uploads_total", outcome="created") == 1
    assert value("mosic_uploads_total", outcome="duplicate") == 1
    assert value("mosic_uploads_total", outcome="unsupported-media") == 1
    assert value("mosic_upload_bytes_total") == 2 * len(content) + 4
    assert value("mosic_streams_total") == 2
    assert value("mosic_stream_bytes_total") == len(content) + 100
    assert value("mosic_active_streams") == 0
    stream = {"method": "GET", "route": "/play/{clip_id}/stream"}
    assert value("mosic_total_api_requests_total", **stream, status="200") == 1
    assert value("mosic_total_api_requests_total", **stream, status="206") == 1
    assert value("mosic_request_latency_seconds_count", **stream, status="206") == 1
    assert value("mosic_total_api_requests_total", method="GET", route="unmatched", status="404") == 1
    assert value("mosic_total_api_requests_total", method="GET", route="/play/{clip_id}", status="200") == 1


async def test_series_stay_bounded_whatever_is_asked(service: Service) -> None:
    for number in range(50):
        await service.http.get(f"/random/{number}")
        await service.http.get(f"/play/{number}")
        await service.http.request(f"METHOD{number}", "/play")
    assert len(await scrape(service)) < 150


async def test_active_streams_while_one_is_open(service: Service) -> None:
    content = wav(2000.0)
    clip = (await service.http.post("/play/upload", content=content, headers=AUTH)).json()
    active = ("mosic_active_streams", frozenset[tuple[str, str]]())
    async with service.http.stream("GET", f"/play/{clip['id']}/stream") as answer:
        assert answer.status_code == 200
        assert (await scrape(service))[active] == 1
    for _ in range(100):
        if (await scrape(service))[active] == 0:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the stream of a client that left never ended")


async def test_openmetrics_when_asked_for(service: Service) -> None:
    answer = await service.http.get(
        "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
async def test_promtool_accepts_the_metrics(service: Service) -> None:
    await service.http.post("/play/upload", content=wav(), headers=AUTH)
    text = (await service.http.get("/metrics")).text
    check = subprocess.run(
        ["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False
    )
    assert (check.returncode, check.stdout + check.stderr) == (0, "")


async def test_api_document_lists_the_contract(service: Service) -> None:
    document = (await service.http.get("/openapi.json")).json()
    routes = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert routes >= {
        ("GET", "/play"),
        ("POST", "/play"),
        ("POST", "/play/upload"),
        ("PUT", "/play/upload"),
        ("GET", "/play/{clip_id}"),
        ("PATCH", "/play/{clip_id}"),
        ("DELETE", "/play/{clip_id}"),
        ("GET", "/play/{clip_id}/stream"),
        ("GET", "/play/{clip_id}/stats"),
        ("GET", "/health"),
        ("GET", "/ready"),
        ("GET", "/metrics"),
    }
    assert not any(path.startswith(("/clips", "/api")) for _, path in routes)
    # Every reference leads somewhere.
    for reference in re.findall(r'"\$ref": ?"#/([^"]+)"', (await service.http.get("/openapi.json")).text):
        place = document
        for step in reference.split("/"):
            place = place[step]


@pytest.mark.parametrize("path", ["/docs", "/api/docs", "/redoc"])
async def test_documentation_pages(service: Service, path: str) -> None:
    answer = await service.http.get(path)
    assert answer.status_code == 200
    assert "openapi.json" in answer.text


@pytest.mark.parametrize("path", ["/play", "/health", "/ready", "/metrics", "/docs", "/openapi.json"])
async def test_get_routes_answer_head(service: Service, path: str) -> None:
    answer = await service.http.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
