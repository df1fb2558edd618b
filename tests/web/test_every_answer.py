"""What is true of every response, whoever makes it: a route, a layer around the routes, the server below."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.support.databases import shown
from tests.support.exchange import exchange, head
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav

ORIGIN = "https://app.example"
KEY_LINE = f"X-API-Key: {AUTH['X-API-Key']}"
REQUESTS: dict[str, bytes] = {
    "list": head("GET", "/play"),
    "list, HEAD": head("HEAD", "/play"),
    "wrong query": head("GET", "/play?limit=x"),
    "no such clip": head("GET", "/play/none"),
    "no such stream": head("GET", "/play/none/stream"),
    "no such route": head("GET", "/none"),
    "wrong method": head("PUT", "/play"),
    "wrong method at a stream": head("DELETE", "/play/none/stream"),
    "no key": head("POST", "/play/upload", "Content-Length: 0"),
    "no file": head("POST", "/play/upload", KEY_LINE, "Content-Length: 0"),
    "tus": head("OPTIONS", "/play/uploads"),
    "no such upload": head("HEAD", "/play/uploads/none", KEY_LINE, "Tus-Resumable: 1.0.0"),
    "preflight": head("OPTIONS", "/play", f"Origin: {ORIGIN}", "Access-Control-Request-Method: POST"),
    "health": head("GET", "/health"),
    "ready": head("GET", "/ready"),
    "metrics": head("GET", "/metrics"),
    "document": head("GET", "/openapi.json"),
    "page": head("GET", "/docs"),
    "asset": head("GET", "/docs/assets/docs.js"),
    "first page": head("GET", "/"),
    "errors": head("GET", "/docs/errors"),
    "icon": head("GET", "/favicon.ico"),
    "no HTTP": b"\0\r\n\r\n",
    "a head that is too large": head("GET", "/play", f"X-Long: {'x' * 70_000}"),
    "a wrong Content-Length": head("POST", "/play", "Content-Length: 1, 2"),
}


@pytest.fixture
async def service(tmp_path: Path, database_url: URL) -> AsyncIterator[Service]:
    async with running_service(tmp_path / "media", shown(database_url), cors_origins=(ORIGIN,)) as running:
        yield running


async def test_no_browser_guesses_types(service: Service) -> None:
    """And none has the field twice, which `exchange` sees. A 304 about a clip has no content to guess of."""
    clip = (await service.http.post("/play/upload", content=wav(0.5), headers=AUTH)).json()
    stream = f"/play/{clip['id']}/stream"
    requests = {
        **REQUESTS,
        "stream": head("GET", stream),
        "stream, HEAD": head("HEAD", stream),
        "range": head("GET", stream, "Range: bytes=5-"),
        "no range": head("GET", stream, "Range: bytes=9999999-"),
        "clip": head("GET", f"/play/{clip['id']}"),
        "stats": head("GET", f"/play/{clip['id']}/stats"),
        "removed": head("DELETE", f"/play/{clip['id']}", KEY_LINE),
    }
    found: dict[str, str | None] = {}
    for name, request in requests.items():
        answer = await exchange(service.port, request)
        found[name] = answer.fields.get("x-content-type-options")
    assert found == dict.fromkeys(requests, "nosniff")


@pytest.mark.parametrize("leaving", ["reset", "close"])
@pytest.mark.parametrize("path", ["stream", "list"])
async def test_a_client_that_leaves_is_no_error(
    service: Service, caplog: pytest.LogCaptureFixture, path: str, leaving: str
) -> None:
    content = wav(60.0)
    clip = (await service.http.post("/play/upload", content=content, headers=AUTH)).json()
    target = f"/play/{clip['id']}/stream"
    if path == "list":
        words = dict.fromkeys(("title", "artist", "album", "genre", "description"), "x" * 500)
        for number in range(50):
            external = {**words, "audio_url": f"https://example.org/{number}.mp3"}
            await service.http.post("/play", json=external, headers=AUTH)
        target = "/play"
    for wait in (0, 0.001, 0.005, 0.02):
        for _ in range(5):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(connection, ("127.0.0.1", service.port))
            await loop.sock_sendall(connection, head("GET", target, closing=False))
            await loop.sock_recv(connection, 1000)
            await asyncio.sleep(wait)
            if leaving == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
    # Requests are logged when they have ended: all of them have, once the service has stopped.
    assert (await service.http.get("/health")).status_code == 200
    async with asyncio.timeout(60):
        while await service.metric("mosic_active_streams"):
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert errors == []
