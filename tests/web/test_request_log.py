"""The line of each request: whose it was, what it asked for, and nothing that is a secret."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from pydantic import SecretStr
from sqlalchemy import URL

from mosic.server.configuration import configuration
from mosic.settings import Settings
from mosic.web.app import create_app
from tests.support.databases import shown
from tests.support.service import AUTH, KEY, Service, running_service
from tests.support.sounds import wav

TUS = {"Tus-Resumable": "1.0.0", **AUTH}


class Lines:
    """What was logged, as members."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def take(self, event: str) -> list[dict[str, Any]]:
        """Those since the last time."""
        found = [one.msg for one in self._caplog.records if isinstance(one.msg, dict)]
        self._caplog.clear()
        return [line for line in found if line["event"] == event]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    caplog.set_level(logging.DEBUG)
    return Lines(caplog)


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({}, "127.0.0.1"),
        ({"X-Forwarded-For": "1.2.3.4, 203.0.113.5"}, "203.0.113.5"),
        ({"X-Forwarded-For": "::ffff:203.0.113.5"}, "203.0.113.5"),
        ({"X-Forwarded-For": "2001:0DB8:0::5"}, "2001:db8::5"),
        ({"X-Forwarded-For": 'fe80::5%" "address": "1.2.3.4'}, "fe80::5"),
        ({"Forwarded": 'for="[2001:db8::5]:443"'}, "2001:db8::5"),
        ({"X-Forwarded-For": "unknown"}, "127.0.0.1"),
    ],
)
async def test_the_address_is_the_clients(
    tmp_path: Path, database_url: URL, lines: Lines, fields: dict[str, str], address: str
) -> None:
    for trusted, expected in (("127.0.0.1", address), ("192.0.2.1", "127.0.0.1")):
        async with running_service(
            tmp_path / "media", shown(database_url), forwarded_allow_ips=trusted
        ) as on:
            lines.take("request")
            await on.http.get("/play", headers=fields)
            await on.http.get("/play/01935b7e-0000-7000-8000-000000000000/stream", headers=fields)
            assert [line["address"] for line in lines.take("request")] == [expected] * 2
            await on.http.patch("/play/x", json={}, headers={"X-API-Key": "wrong", **fields})
            assert [line["address"] for line in lines.take("wrong API key")] == [expected]


async def test_over_a_unix_socket_there_is_no_address(
    short_tmp: Path, tmp_path: Path, database_url: URL, lines: Lines
) -> None:
    url = SecretStr(shown(database_url))
    settings = Settings(
        media_root=tmp_path, data_dir=tmp_path / "data", database_url_override=url, api_key=KEY
    )
    path = str(short_tmp / "request-log.sock")
    server = uvicorn.Server(configuration(settings, create_app(settings), uds=path))
    running = asyncio.create_task(server._serve())
    while not server.started and not running.done():
        await asyncio.sleep(0.01)
    transport = httpx.AsyncHTTPTransport(uds=path)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as http:
        lines.take("request")
        wrong = {"X-API-Key": "wrong", "X-Forwarded-For": "1.2.3.4"}
        assert (await http.get("/play", headers=wrong)).status_code == 200
        (line,) = lines.take("request")
        assert "address" not in line
        assert (await http.patch("/play/x", json={}, headers=wrong)).status_code == 401
        (line,) = lines.take("wrong API key")
        assert "address" not in line
    server.should_exit = True
    await running


async def test_what_the_server_refuses_has_the_address_of_who_is_connected(
    service: Service, lines: Lines
) -> None:
    await service.raw(b"GARBAGE\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n")
    await service.raw(b"GET /play HTTP/1.1\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n")
    refused = lines.take("request refused")
    assert [line["address"] for line in refused] == ["127.0.0.1"] * 2


async def test_the_path_is_that_which_was_sent(service: Service, lines: Lines) -> None:
    clip = (await service.http.post("/play/upload", content=wav(), headers=AUTH)).json()["id"]
    lines.take("request")
    for target, path in {
        f"/play/{clip}/stream?expires=1&signature=abc": f"/play/{clip}/stream",
        f"/clips/{clip}/": f"/clips/{clip}/",
        "/metrics%2F": "/metrics%2F",
        "/caf%C3%A9%20%22%0A": "/caf%C3%A9%20%22%0A",
        "/a'b(c)": "/a'b(c)",
        "/play%3Fq=x": "/play…",
        "/play&signature=abc": "/play&signature…",
        "/correct-horse-battery-staple/song-of-many-letters.mp3": None,
        f"/play/{'aZ9' * 20}": "/play/…",
        f"/{'x/' * 600}": f"/{'x/' * 127}…",
    }.items():
        await service.raw(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        (line,) = lines.take("request")
        assert line["path"] == (target if path is None else path)


async def test_the_clip_is_named_that_a_request_is_about_or_makes(service: Service, lines: Lines) -> None:
    async def named(method: str, path: str, **options: Any) -> Any:
        answer = await service.http.request(method, path, **options)
        (line,) = lines.take("request")
        assert line["status"] == answer.status_code
        return line.get("clip_id"), answer

    lines.take("request")
    name, answer = await named("POST", "/play/upload", content=wav(), headers=AUTH)
    clip = answer.json()["id"]
    assert name == clip
    for method, path in (
        ("POST", "/play/upload"),  # the same bytes again
        ("GET", f"/play/{clip.upper()}"),
        ("HEAD", f"/clips/{clip}/stream"),
        ("GET", f"/play/{clip}/stream.wav"),
        ("PATCH", f"/play/{clip}"),
    ):
        content = wav() if method == "POST" else b"{}" if method == "PATCH" else None
        assert (await named(method, path, content=content, headers=AUTH))[0] == clip
    external = {"title": "x", "audio_url": "http://example.org/a.mp3"}
    name, answer = await named("POST", "/play", json=external, headers=AUTH)
    assert name == answer.json()["id"]
    body = wav(seed=1)
    length = {"Upload-Length": str(len(body))}
    name, answer = await named("POST", "/play/uploads", headers=TUS | length)
    assert name is None
    as_bytes = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    name, answer = await named("PATCH", answer.headers["Location"], content=body, headers=TUS | as_bytes)
    assert name == answer.headers["Content-Location"].rpartition("/")[2]
    assert (await named("GET", "/play/nothing"))[0] is None
    assert (await named("GET", "/play"))[0] is None


async def test_health_checks_and_scrapes_are_for_debugging(service: Service, lines: Lines) -> None:
    for path in ("/health", "/ready", "/metrics", "/metrics/", "/play"):
        await service.http.get(path)
    assert [line["level"] for line in lines.take("request")] == ["debug"] * 4 + ["info"]
    # Not those that fail.
    await service.http.post("/health")
    await service.http.get("/metrics%2f")
    assert [line["level"] for line in lines.take("request")] == ["info"] * 2


@pytest.mark.usefixtures("unforgiving")
async def test_one_wrong_key_is_one_line(tmp_path: Path, database_url: URL, lines: Lines) -> None:
    async with running_service(
        tmp_path / "media", shown(database_url), require_key_for_reads=True
    ) as service:
        lines.take("request")
        wrong = {"X-API-Key": "wrong"}
        asked = [("GET", "/play?trash=true"), ("GET", "/play/x/stream"), ("POST", "/play/uploads")]
        for number, (method, path) in enumerate(asked * 5):
            answer = await service.http.request(method, path, headers=wrong)
            assert answer.status_code == (401 if number < 10 else 429)
            (line,) = lines.take("wrong API key")
            assert (line["level"], line["request_id"]) == ("warning", answer.headers["x-request-id"])
        await service.http.get("/play")
        await service.http.get("/play", headers={"X-API-Key": KEY})
        assert lines.take("wrong API key") == []
