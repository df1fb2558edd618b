"""Whatever a request asks for, the head of the response has at most 3 KB: proxies take 4."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from sqlalchemy import URL

from mosic.wire.disposition import content_disposition
from tests.support.databases import shown
from tests.support.exchange import raw_exchange
from tests.support.service import AUTH, KEY, Service, running_service
from tests.support.sounds import wav

LIMIT = 3 * 1024
ORIGIN = "https://" + "o" * 60 + ".example"
PUBLIC_URL = "https://" + "h" * 60 + ".example/" + "p" * 170
ALIAS = "/" + "a" * 60
LONG = "x" * 7000
# Decomposes into eighteen letters.
LIGATURE = "\ufdfa"

COMMON = (
    "Host: localhost",
    "Connection: close",
    f"X-API-Key: {KEY}",
    f"Origin: {ORIGIN}",
    f"X-Request-ID: {'i' * 128}",
    "Tus-Resumable: 1.0.0",
)
ODD: tuple[tuple[str, ...], ...] = (
    (),
    (f"X-Request-ID: {LONG}",),
    (f"Range: bytes={LONG}", f"If-None-Match: {LONG}"),
    ("Range: bytes=0-0,2-2,4-4,6-6,8-8", f"Accept: {LONG}"),
    ("If-None-Match: *",),
    ("If-Match: nothing",),
    ("Range: bytes=99999999999-",),
    (f"Access-Control-Request-Method: {LONG}", f"Access-Control-Request-Headers: {LONG}"),
    ("Access-Control-Request-Method: GET", "Access-Control-Request-Headers: range"),
    (f"Upload-Metadata: {LONG}", "Upload-Length: 5"),
    (f"X-Forwarded-Host: {LONG}", f"X-Forwarded-Prefix: /{LONG}", f"Forwarded: host={LONG}"),
    (f"Cookie: {LONG}", "Expect: 100-continue", f"X-API-Key: {LONG}"),
    (f"Authorization: Bearer {LONG}",),
    ("Upload-Length: 5", f"Upload-Metadata: filename {'A' * 1388}"),
)


@pytest.fixture
async def service(tmp_path: Path, database_url: URL) -> AsyncIterator[Service]:
    """With settings that make heads as long as settings may."""
    async with running_service(
        tmp_path / "media",
        shown(database_url),
        cors_origins=ORIGIN,
        remote_allow_private=True,
        remote_stream="redirect",
        public_url=PUBLIC_URL,
        alias_prefixes=ALIAS,
    ) as running:
        yield running


def lines_of(service: Service, fields: tuple[str, ...]) -> Iterator[str]:
    named = {field.partition(":")[0] for field in fields}
    yield from (line for line in COMMON if line.partition(":")[0] not in named)
    yield from fields


async def head_of(service: Service, method: str, target: str, *fields: str) -> bytes:
    text = "\r\n".join((f"{method} {target} HTTP/1.1", *lines_of(service, fields), "", ""))
    received = await raw_exchange(service.port, text.encode("latin-1"))
    head, end, _ = received.partition(b"\r\n\r\n")
    assert end, received[:200]
    return head


async def targets(service: Service) -> list[str]:
    """Every route, with a clip whose every text is long, an upload likewise, and an external clip."""
    http = service.http
    name = LIGATURE * 84 + ".wav"
    words = {"title": LIGATURE * 900, "artist": "é" * 1000, "description": "d" * 20_000}
    files = {"file": (name, wav())}
    clip = (await http.post("/play/upload", files=files, data=words, headers=AUTH)).json()
    far = service.url + "/" + "ä" * 330
    external = (await http.post("/play", json={"title": "x", "audio_url": far}, headers=AUTH)).json()
    alias = service.settings.alias_prefixes[0]
    value = base64.b64encode(b"n" * 1030).decode()
    made = await http.post(
        f"{alias}/uploads",
        headers={
            **AUTH,
            "Tus-Resumable": "1.0.0",
            "Upload-Length": "5",
            "Upload-Metadata": f"filename {value}",
        },
    )
    assert made.status_code == 201
    upload = urlsplit(made.headers["Location"]).path.rpartition("/")[2]
    document = json.loads((await http.get("/openapi.json")).content)
    paths = [
        *document["paths"],
        f"{alias}/uploads",
        f"{alias}/uploads/{{upload_id}}",
        "/docs",
        "/redoc",
        "/none",
    ]
    found = [
        path.replace("{clip_id}", one).replace("{upload_id}", upload)
        for path in paths
        for one in (clip["id"], external["id"])
    ]
    return list(dict.fromkeys(found))


async def test_heads_are_short(service: Service) -> None:
    longest = 0
    for target in await targets(service):
        for query in ("", f"?q={quote(LONG)}", f"?limit=1&sha256=&{LONG}=1"):
            # DELETE comes last: it takes away what the others are about.
            for method in ("GET", "HEAD", "OPTIONS", "POST", "PATCH"):
                for fields in ODD if not query else ODD[:1]:
                    head = await head_of(service, method, target + query, *fields)
                    assert len(head) <= LIMIT, (method, target, query[:20], fields, head)
                    longest = max(longest, len(head))
    # So that this test has seen long ones.
    assert longest > 1500


async def test_link_has_the_parameters_of_the_route_alone(service: Service) -> None:
    for title in "abc":
        given = {"title": title, "audio_url": "http://127.0.0.1/x.mp3"}
        assert (await service.http.post("/play", json=given, headers=AUTH)).status_code == 201
    answer = await service.http.get("/play?limit=1")
    link = answer.links["next"]["url"]
    assert {pair.partition("=")[0] for pair in urlsplit(link).query.split("&")} == {"limit", "cursor"}
    following = await service.http.get("/play?" + urlsplit(link).query)
    assert [clip["title"] for clip in (*answer.json(), *following.json())] == ["c", "b"]
    assert len(await head_of(service, "GET", "/play?limit=1")) < LIMIT


def test_names_that_grow() -> None:
    for letter in (LIGATURE, "\u3300", "é", "%", "\U0001f3b5", "x"):
        assert len(content_disposition("inline", letter * 300 + ".mp3")) < 1100
