"""Every error body, from every route, is RFC 9457 with a stable code."""

from __future__ import annotations

import httpx
import pytest

from mosic.errors import all_errors
from tests.support.service import AUTH, Service

CODES = {error.code: error.status for error in all_errors()}
ANY = "01935b7e-0000-7000-8000-000000000000"


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["code"] == code
    assert body["status"] == status == CODES[code]
    assert body["type"].endswith(f"errors#{code}")
    assert body["title"]
    assert body["detail"]
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not-found"),
        ("POST", "/nothing", 404, "not-found"),
        ("GET", "/play/x/y/z", 404, "not-found"),
        ("GET", f"/play/{ANY}", 404, "clip-not-found"),
        ("GET", f"/play/{ANY}/stats", 404, "clip-not-found"),
        ("GET", f"/play/{ANY}/works", 404, "clip-not-found"),
        ("GET", f"/play/{ANY}/stream", 404, "clip-not-found"),
        ("GET", "/play?limit=many", 422, "invalid-request"),
        ("POST", "/play", 401, "unauthorized"),
        ("POST", "/play/upload", 401, "unauthorized"),
        ("PUT", "/play/upload", 401, "unauthorized"),
        ("PATCH", f"/play/{ANY}", 401, "unauthorized"),
        ("DELETE", f"/play/{ANY}", 401, "unauthorized"),
        ("DELETE", "/play", 405, "method-not-allowed"),
        ("POST", f"/play/{ANY}/stream", 405, "method-not-allowed"),
        ("POST", "/metrics", 405, "method-not-allowed"),
        ("TRACE", "/health", 405, "method-not-allowed"),
    ],
)
async def test_problem(service: Service, method: str, path: str, status: int, code: str) -> None:
    assert_problem(await service.http.request(method, path), status, code)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/play", {"GET", "HEAD", "POST"}),
        (f"/play/{ANY}", {"GET", "HEAD", "PATCH", "DELETE"}),
        (f"/play/{ANY}/stream", {"GET", "HEAD"}),
        ("/health", {"GET", "HEAD"}),
    ],
)
async def test_405_names_every_method_that_is_allowed(service: Service, path: str, allowed: set[str]) -> None:
    answer = await service.http.request("TRACE", path)
    assert_problem(answer, 405, "method-not-allowed")
    assert set(answer.headers["allow"].split(", ")) == allowed


async def test_unexpected_error_says_nothing_about_the_inside(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret of the inside")

    monkeypatch.setattr("mosic.core.catalog.list_clips", broken)
    answer = await service.http.get("/play", headers={"X-Request-ID": "from-the-proxy-1"})
    assert_problem(answer, 500, "internal-error")
    assert "secret" not in answer.text
    assert "from-the-proxy-1" in answer.text
    assert answer.headers["x-request-id"] == "from-the-proxy-1"


async def test_request_id_that_is_not_harmless_is_replaced(service: Service) -> None:
    answer = await service.http.get("/health", headers={"X-Request-ID": "a b<script>"})
    assert answer.headers["x-request-id"] != "a b<script>"


async def test_errors_are_counted_by_code(own_service: Service) -> None:
    await own_service.http.get("/nothing")
    await own_service.http.delete("/play/x", headers=AUTH)
    exposition = (await own_service.http.get("/metrics")).text
    assert 'mosic_errors_total{code="not-found"} 1.0' in exposition
    assert 'mosic_errors_total{code="clip-not-found"} 1.0' in exposition
