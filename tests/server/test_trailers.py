"""Trailers change nothing: RFC 9110 §6.5.1. Each field that matters in a head is sent as a trailer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from mosic.postgres import EmbeddedPostgres
from tests.support.exchange import Answer, first_answer, head
from tests.support.loops import LOOPS, service_on
from tests.support.service import KEY
from tests.support.sounds import wav

SONG = wav(0.5)
AUTH = f"X-API-Key: {KEY}"
JSON = "Content-Type: application/json"
TUS = "Tus-Resumable: 1.0.0"
FOLLOWING = head("GET", "/health")
WAYS = ("one segment", "two segments", "byte by byte")


@dataclass(frozen=True)
class Case:
    """A request, and a field that changes the response to it when it stands in the head."""

    field: str
    method: str
    path: str
    lines: tuple[str, ...] = ()
    body: bytes = b"{}"

    def request(self, path: str, *, in_head: bool = False, trailer: str = "") -> tuple[bytes, bytes]:
        """What stands before the trailer section, and the rest."""
        lines = (*self.lines, "Transfer-Encoding: chunked", *((self.field,) if in_head else ()))
        chunk = b"%x\r\n%s\r\n" % (len(self.body), self.body) if self.body else b""
        start = head(self.method, path, *lines, closing=False) + chunk + b"0\r\n"
        return start, (f"{trailer}\r\n\r\n" if trailer else "\r\n").encode()


CLIP, STREAM, UPLOADS, UPLOAD = "/play/{id}", "/play/{id}/stream", "/play/uploads", "/play/upload"
CASES = [
    Case(AUTH, "PATCH", CLIP, (JSON,)),
    Case(AUTH, "DELETE", CLIP),
    Case(AUTH, "PUT", UPLOAD, ("Content-Type: audio/wav",), SONG),
    Case("Range: bytes=1-9", "GET", STREAM, body=b""),
    Case("If-None-Match: *", "GET", STREAM, body=b"x"),
    Case('If-Match: "other"', "GET", STREAM),
    Case('If-Match: "other"', "PATCH", CLIP, (AUTH, JSON)),
    Case("Content-Type: text/plain", "PUT", UPLOAD, (AUTH,), SONG),
    Case("Content-Encoding: gzip", "PUT", UPLOAD, (AUTH,), SONG),
    Case("Repr-Digest: sha-256=:" + "A" * 43 + "=:", "PUT", UPLOAD, (AUTH,), SONG),
    Case("X-Forwarded-Host: evil.test", "GET", CLIP),
    Case("X-Forwarded-Proto: https", "GET", CLIP),
    Case("X-Forwarded-Prefix: /evil", "GET", CLIP),
    Case("Forwarded: host=evil.test", "GET", CLIP),
    Case("Host: evil.test", "GET", CLIP),
    Case("X-Request-ID: evil", "GET", CLIP),
    Case("Upload-Length: 4", "POST", UPLOADS, (AUTH, TUS), b""),
    Case(TUS, "POST", UPLOADS, (AUTH, "Upload-Length: 4"), b""),
    Case("X-HTTP-Method-Override: HEAD", "POST", UPLOADS, (AUTH, TUS, "Upload-Length: 4"), b""),
    Case("Connection: close", "PATCH", CLIP, (AUTH, JSON)),
]
# In a head these would be another request, or none.
HARMLESS = [
    Case("Expect: 100-continue", "PUT", UPLOAD, (AUTH,), SONG),
    Case("Connection: Upgrade\r\nUpgrade: h2c", "PATCH", CLIP, (AUTH, JSON)),
    Case("Content-Range: bytes 0-1/5", "PUT", UPLOAD, (AUTH,), SONG),
    Case("Authorization: Bearer " + KEY, "PATCH", CLIP, (JSON,)),
    Case("Origin: https://evil.test", "GET", CLIP),
    Case("X-Forwarded-For: 192.0.2.1", "PATCH", CLIP, (JSON,)),
]


@dataclass
class At:
    port: int
    http: httpx.AsyncClient
    clip: str


@pytest.fixture(scope="module", params=LOOPS)
async def at(
    request: pytest.FixtureRequest, short_tmp: Path, postgres: EmbeddedPostgres
) -> AsyncIterator[At]:
    async with (
        service_on(request.param, short_tmp / "trailers", postgres) as url,
        httpx.AsyncClient(base_url=url, timeout=60, headers={"X-API-Key": KEY}) as http,
    ):
        clip = (await http.post("/play/upload", content=SONG)).json()["id"]
        yield At(urlsplit(url).port or 0, http, clip)


async def received(port: int, way: str, start: bytes, rest: bytes) -> bytes:
    pieces = {
        "one segment": [start + rest],
        "two segments": [start, rest],
        "byte by byte": [bytes([byte]) for byte in start + rest],
    }[way]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05 if way == "two segments" else 0)
        return await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()


def seen(answer: Answer) -> tuple[object, ...]:
    """What of a response depends on the request alone."""
    fields = {
        name: answer.fields.get(name) for name in ("content-range", "etag", "connection", "x-request-id")
    }
    if fields["x-request-id"] != "evil":
        fields["x-request-id"] = None
    urls: object = None
    if answer.fields.get("content-type") == "application/json":
        found = json.loads(answer.body)
        urls = found.get("audio_url"), found.get("id")
    elif answer.fields.get("content-type", "").startswith("audio/"):
        urls = answer.body
    return answer.status, answer.fields.get("content-type"), urls, tuple(fields.items())


@pytest.mark.parametrize("case", [*CASES, *HARMLESS], ids=lambda case: f"{case.field[:24]} {case.method}")
async def test_a_trailer_is_dropped_and_a_following_request_is_answered(at: At, case: Case) -> None:
    async def answered(request: tuple[bytes, bytes], way: str, *, following: bool = True) -> Answer:
        """What a request has removed is there again for the next."""
        behind = FOLLOWING if following else b""
        raw = await received(at.port, way, request[0], request[1] + behind)
        answer, raw = first_answer(raw, to_head=False)
        if answer.status == 204 and case.method == "DELETE":
            at.clip = (await at.http.post("/play/upload", content=SONG)).json()["id"]
        if following and answer.fields.get("connection") != "close":
            next_answer, raw = first_answer(raw, to_head=False)
            assert next_answer.status == 200
        assert raw == b""
        return answer

    path = case.path.format(id=at.clip)
    first = await answered(case.request(path), "one segment")
    # A body that no route reads ends the connection.
    following, plain = first.fields.get("connection") != "close", seen(first)
    for way in WAYS:
        request = case.request(path, trailer=case.field)
        assert seen(await answered(request, way, following=following)) == plain, way
    if case in CASES and case.field not in ("Connection: close", "Host: evil.test"):
        # The comparison sees what the field does where it counts.
        assert seen(await answered(case.request(path, in_head=True), "one segment")) != plain


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("trailer", ["Content-Length: 5", "Transfer-Encoding: chunked", "No colon"])
async def test_a_trailer_that_frames_is_refused(at: At, trailer: str, way: str) -> None:
    case = Case(trailer, "PATCH", CLIP, (AUTH, JSON))
    start, rest = case.request(case.path.format(id=at.clip), trailer=trailer)
    answer, left = first_answer(await received(at.port, way, start, rest + FOLLOWING), to_head=False)
    assert (answer.status, json.loads(answer.body)["code"], left) == (400, "malformed-request", b"")


async def test_the_client_is_not_asked_to_go_on_by_a_trailer(at: At) -> None:
    case = HARMLESS[0]
    for way in WAYS:
        start, rest = case.request(case.path, trailer=case.field)
        raw = await received(at.port, way, start, rest + head("PUT", UPLOAD, AUTH, "Content-Length: 0"))
        assert b" 100 " not in raw.split(b"\r\n")[0]
        assert raw.count(b"HTTP/1.1 ") == 2
