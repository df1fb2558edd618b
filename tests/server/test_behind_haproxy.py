"""Behind HAProxy, which takes fields out of heads, sets others, and passes trailers on as they come."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.exchange import Answer, exchange, head
from tests.support.haproxy import needs_haproxy, running_haproxy
from tests.support.service import AUTH, KEY, Service
from tests.support.sounds import wav

RULES = (
    "http-request del-header X-API-Key",
    "http-request del-header Range",
    "http-request set-header X-Forwarded-Host music.example",
    "http-request set-header X-Forwarded-Proto https",
)

pytestmark = needs_haproxy


async def with_trailer(
    port: int, method: str, path: str, trailer: str, *lines: str, body: bytes = b"{}"
) -> Answer:
    chunks = b"%x\r\n%s\r\n0\r\n%s\r\n\r\n" % (len(body), body, trailer.encode())
    return await exchange(port, head(method, path, "Transfer-Encoding: chunked", *lines) + chunks)


async def test_a_trailer_does_not_undo_what_the_proxy_has_done(service: Service, tmp_path: Path) -> None:
    song = wav(0.5)
    path = f"/play/{(await service.http.post('/play/upload', content=song, headers=AUTH)).json()['id']}"
    json_type = "Content-Type: application/json"
    async with running_haproxy(tmp_path / "haproxy", service.port, *RULES) as port:
        for field in (f"X-API-Key: {KEY}", f"Authorization: Bearer {KEY}"):
            assert (await with_trailer(port, "PATCH", path, field, json_type)).status == 401
        streamed = await with_trailer(port, "GET", f"{path}/stream", "Range: bytes=0-9")
        assert (streamed.status, streamed.body) == (200, song)
        for field in ("X-Forwarded-Host: evil.test", "Forwarded: host=evil.test", "Host: evil.test"):
            clip = json.loads((await with_trailer(port, "GET", path, field)).body)
            assert clip["stream_url"] == f"https://music.example{path}/stream"


async def test_refusals_reach_the_client(service: Service, tmp_path: Path) -> None:
    async with running_haproxy(tmp_path / "haproxy", service.port) as port:
        lines = (f"X-API-Key: {KEY}", "Content-Encoding: gzip", "Content-Length: 3")
        answer = await exchange(port, head("PUT", "/play/upload/a.wav", *lines) + b"abc")
        assert (answer.status, json.loads(answer.body)["code"]) == (415, "unsupported-content-encoding")
        answer = await exchange(port, head("PROPFIND", "/play"))
        assert (answer.status, json.loads(answer.body)["code"]) == (501, "method-not-implemented")
