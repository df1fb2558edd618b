"""The service behind a real nginx that runs the example of deploy/nginx/, and has it send the files or not.

In both ways a client must get what RFC 9110 asks for: the rows of tests/support/rfc9110.py, byte for byte.
Only what nginx itself does not let through is different.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from sqlalchemy import URL

from mosic.postgres import EmbeddedPostgres
from mosic.settings import Settings
from tests.support.clips import ServedClip, add_clip
from tests.support.databases import empty_database, shown
from tests.support.exchange import Answer, exchange, head, raw_exchange
from tests.support.nginx import NGINX, needs_nginx, running_nginx, write_config
from tests.support.ports import free_port
from tests.support.rfc9110 import CONTENT, ROWS, Row, expected, observed
from tests.support.service import AUTH, running_service
from tests.support.sounds import wav
from tests.support.spellings import spellings

pytestmark = needs_nginx

EXAMPLE = Path(__file__).parents[2] / "deploy/nginx/mosic.conf"
TRANSPORT = frozenset({"date", "connection", "server", "x-request-id"})
PREFIX = "/_media/"


def adapted(*, port: int, service_port: int, media: Path) -> str:
    """The example with the values that it says to change."""
    text = EXAMPLE.read_text()
    for there, here in (
        ("server 127.0.0.1:8000;", f"server 127.0.0.1:{service_port};"),
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("alias /srv/mosic/media/;", f"alias {media}/;"),
    ):
        assert text.count(there) == 1, there
        text = text.replace(there, here)
    return text


def test_example_is_accepted_as_it_is(tmp_path: Path) -> None:
    """But for the port, which is not everybody's to listen on."""
    example = EXAMPLE.read_text().replace("listen 80;", f"listen 127.0.0.1:{free_port()};")
    main = write_config(tmp_path, example)
    command = [
        str(NGINX),
        "-t",
        "-q",
        "-p",
        str(tmp_path),
        "-c",
        str(main),
        "-e",
        str(tmp_path / "error.log"),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


@dataclass
class Front:
    """nginx on `port`, and the service with its clip behind it."""

    clip: ServedClip
    port: int

    async def ask(self, method: str = "GET", *lines: str) -> Answer:
        return await self.clip.ask(method, *lines, port=self.port)

    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", headers=AUTH, timeout=60)


@asynccontextmanager
async def fronted(folder: Path, url: str, **settings: Any) -> AsyncIterator[Front]:
    port = free_port()
    async with running_service(folder / "media", url, **settings) as service:
        server = adapted(port=port, service_port=service.port, media=folder / "media")
        async with running_nginx(folder / "nginx", server, port):
            yield Front(await add_clip(service), port)


@pytest.fixture(scope="module", params=[None, PREFIX], ids=["proxied", "accelerated"])
async def front(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Front]:
    """For tests that only read."""
    folder = tmp_path_factory.mktemp("front")
    async with (
        empty_database(postgres) as url,
        fronted(folder, url, accel_redirect=request.param) as front,
    ):
        yield front


@pytest.fixture
async def fresh(tmp_path: Path, database_url: URL) -> AsyncIterator[Front]:
    """Accelerated, with pages of another origin allowed."""
    async with fronted(
        tmp_path, shown(database_url), accel_redirect=PREFIX, cors_origins=("https://app.example",)
    ) as front:
        yield front


def refused_by_nginx(row: Row) -> bool:
    """Lines that nginx finds too long (8 KiB), and fields other than Range that come twice."""
    names = [line.partition(":")[0] for line in row.lines if not line.startswith("Range:")]
    return any(len(line) > 8000 for line in row.lines) or len(names) > len(set(names))


@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_row(front: Front, row: Row) -> None:
    answer = await front.ask(row.method, *front.clip.validity.fill(row.lines))
    if refused_by_nginx(row):
        assert answer.status == 400
    else:
        assert observed(answer, TRANSPORT) == expected(row, front.clip.validity)


HANDED_OVER = {
    (): True,
    ("Range: bytes=0-",): True,
    ("Range: bytes=7-9",): True,
    ("Range: bytes=-5",): True,
    ("Range: bytes=7-9", "If-Range: {tag}"): True,
    ("Range: bytes=7-9", "If-Range: {date}"): False,
    ("Range: bytes=7-9", 'If-Range: "x"'): False,
    ("Range: bytes=0-1,5-6",): False,
    ("Range: bytes=5-4",): False,
    ('If-None-Match: "x"',): False,
    ("If-Match: {tag}",): False,
}


async def test_what_nginx_is_asked_to_send(fresh: Front) -> None:
    """As nginx sees it; that the file is where it is said to be is what `test_row` shows."""
    for lines, asked in HANDED_OVER.items():
        filled = fresh.clip.validity.fill(lines)
        answer = await fresh.clip.ask("GET", *filled)
        assert ("x-accel-redirect" in answer.fields) == asked, lines
        assert (answer.body == b"") == asked
        assert "x-accel-redirect" not in (await fresh.clip.ask("HEAD", *filled)).fields


COUNTS = {
    (): 1,
    ("Range: bytes=0-",): 1,
    ("Range: bytes=0-2",): 1,
    ("Range: bytes=0-1",): 0,
    ("Range: bytes=1-",): 0,
    ("Range: bytes=-5",): 0,
    ("Range: bytes=99999-",): 0,
    ("If-None-Match: *",): 0,
}


async def test_plays_are_counted_all_the_same(fresh: Front) -> None:
    counted = 0
    for lines, more in COUNTS.items():
        await fresh.ask("GET", *lines)
        await fresh.ask("HEAD", *lines)
        counted += more
        assert (await fresh.clip.stats())["play_count"] == counted, lines


async def test_fields_for_pages_of_other_origins_pass(fresh: Front) -> None:
    for lines in ((), ("Range: bytes=0-4",), ("Range: bytes=0-4,7-8",), ("If-None-Match: *",)):
        answer = await fresh.ask("GET", "Origin: https://app.example", "X-Request-ID: mine", *lines)
        assert answer.fields["access-control-allow-origin"] == "https://app.example"
        assert "Content-Range" in answer.fields["access-control-expose-headers"]
        assert answer.fields["vary"] == "Origin"
        assert answer.fields["x-request-id"] == "mine"


async def test_files_are_not_to_be_had_without_asking_the_service(fresh: Front) -> None:
    location = (await fresh.clip.ask()).fields["x-accel-redirect"]
    assert location.startswith(PREFIX)
    for path in (location, location.replace("/_media/", "/_media//"), PREFIX, "/_media/data/api_key"):
        answer = await exchange(fresh.port, head("GET", path, f"X-Accel-Redirect: {location}"))
        assert answer.status == 404
        assert CONTENT[:44] not in answer.body
    assert (await exchange(fresh.port, head("GET", "/metrics"))).status == 404


CLOSED = re.findall(r"location (?:\S+ )?(/\S+) \{\s+return 404;", EXAMPLE.read_text())


@pytest.mark.parametrize("path", CLOSED)
async def test_a_closed_route_is_closed_in_every_spelling(front: Front, path: str) -> None:
    """Whatever nginx passes on, the service answers to no spelling of it that nginx let pass."""
    assert CLOSED == ["/metrics"]
    direct = await exchange(front.clip.service.port, head("GET", path))
    assert (direct.status, direct.fields["content-type"][:10]) == (200, "text/plain")
    for target in spellings(path):
        for method in ("GET", "HEAD", "POST"):
            received = await raw_exchange(front.port, head(method, target))
            # nginx answers some with no more than its page.
            assert received.startswith((b"HTTP/1.1 4", b"<html>")), (method, target, received[:80])
    assert (await exchange(front.port, head("GET", "/health"))).status == 200


async def test_pages_pass_and_types_lead_to_one(front: Front) -> None:
    async with front.http() as http:
        for path in ("/", "/favicon.ico", "/docs"):
            assert (await http.get(path)).status_code == 200, path
        # nginx says which path is before this one: none, whatever a client says.
        answer = await http.get("/play/none", headers={"X-Forwarded-Prefix": "/evil"})
        page = await http.get(answer.json()["type"])
        assert (page.status_code, "evil" in page.text) == (200, False)
        assert f'id="{answer.json()["code"]}"' in page.text


async def test_missing_bytes_are_told_by_the_service(fresh: Front) -> None:
    (blob,) = (fresh.clip.service.settings.media_root / "blobs").glob("*/*")
    blob.unlink()
    answer = await fresh.ask()
    assert (answer.status, json.loads(answer.body)["code"]) == (500, "blob-missing")
    assert (await fresh.clip.stats())["play_count"] == 0


async def test_uploads_pass_whole_and_links_lead_back(fresh: Front) -> None:
    """4 MB, which nginx by itself would refuse (client_max_body_size), as a form and in chunks."""
    content = wav(250)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(content), 100_000):
            yield content[at : at + 100_000]

    async with fresh.http() as http:
        made = await http.post("/play/upload", files={"file": ("a.wav", content)})
        again = await http.post("/play/upload", content=pieces())
        assert (made.status_code, again.status_code) == (201, 200)
        clip = made.json()
        assert clip["stream_url"] == f"http://127.0.0.1:{fresh.port}/play/{clip['id']}/stream"
        assert (await http.get(clip["stream_url"])).content == content


async def test_too_large_an_upload_is_refused_by_the_service(tmp_path: Path, database_url: URL) -> None:
    async with fronted(tmp_path, shown(database_url), max_upload_mb=1) as front, front.http() as http:
        answer = await http.post("/play/upload", content=wav(100))
        assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


async def test_store_without_files_sends_its_bytes_itself(tmp_path: Path, database_url: URL) -> None:
    async with running_service(
        tmp_path / "media", shown(database_url), accel_redirect=PREFIX, store_url="memory:"
    ) as service:
        answer = await (await add_clip(service)).ask()
        assert (answer.status, answer.body) == (200, CONTENT)
        assert "x-accel-redirect" not in answer.fields


@pytest.mark.parametrize("given", ["/_media", "/_media/"])
def test_prefix_ends_with_a_slash(given: str) -> None:
    assert Settings(accel_redirect=given).accel_redirect == "/_media/"


@pytest.mark.parametrize("given", ["_media/", "/", "/a b/", "/a%20b/", "/a?b/", "http://x/", "/../", "/a\n/"])
def test_prefix_that_is_no_location(given: str) -> None:
    with pytest.raises(ValidationError, match="not a location"):
        Settings(accel_redirect=given)
