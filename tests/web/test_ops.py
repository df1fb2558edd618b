"""The API document and its pages; HEAD on what answers GET."""

from __future__ import annotations

import re

import pytest

from tests.support.service import Service


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


@pytest.mark.parametrize(
    "path",
    [
        *("/play", "/health", "/ready", "/metrics", "/docs", "/redoc", "/api/docs", "/openapi.json"),
        *("/", "/favicon.ico", "/docs/errors"),
    ],
)
async def test_get_routes_answer_head(service: Service, path: str) -> None:
    answer = await service.http.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
