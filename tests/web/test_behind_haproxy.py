"""The service behind a real HAProxy, which compares paths as they are written and passes Host on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import URL

from tests.support.databases import shown
from tests.support.exchange import exchange, head, raw_exchange
from tests.support.ports import end, free_port, listening
from tests.support.programs import needs
from tests.support.service import AUTH, KEY, Service, running_service
from tests.support.sounds import wav
from tests.support.spellings import spellings

pytestmark = needs("haproxy")

_CONFIG = """\
global
    maxconn 64
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend front
    bind 127.0.0.1:{port}
    option forwardfor
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Prefix /music
    http-request deny deny_status 403 if {{ path_beg /metrics }}
    default_backend mosic
backend mosic
    server one 127.0.0.1:{service_port}
"""


@asynccontextmanager
async def running_haproxy(folder: Path, service_port: int) -> AsyncIterator[int]:
    port = free_port()
    config = folder / "haproxy.cfg"
    config.write_text(_CONFIG.format(port=port, service_port=service_port))
    process = await asyncio.create_subprocess_exec("haproxy", "-db", "-f", str(config))
    try:
        await listening(process, port)
        yield port
    finally:
        await end(process)


async def test_a_closed_route_is_closed_in_every_spelling(tmp_path: Path, service: Service) -> None:
    """HAProxy does not decode what it compares, nor does the service answer to what is encoded."""
    assert (await service.http.get("/metrics")).status_code == 200
    async with running_haproxy(tmp_path, service.port) as port:
        assert (await exchange(port, head("GET", "/health"))).status == 200
        for target in spellings("/metrics"):
            received = await raw_exchange(port, head("GET", target))
            assert b"mosic_" not in received, target
            assert received.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), (target, received[:80])


async def test_urls_lead_back_and_only_its_word_counts(tmp_path: Path, database_url: URL) -> None:
    """It adds to the X-Forwarded-For of a client, in a line of its own; `*` reads that one alone."""
    async with (
        running_service(
            tmp_path / "media", shown(database_url), allowed_hosts="music.example", forwarded_allow_ips="*"
        ) as service,
        running_haproxy(tmp_path, service.port) as port,
    ):
        clip = (await service.http.post("/play/upload", content=wav(), headers=AUTH)).json()

        async def ask(host: str, *lines: str) -> tuple[int, bytes]:
            request = head("GET", f"/play/{clip['id']}", *lines).replace(b"localhost", host.encode())
            answer = await exchange(port, request)
            return answer.status, answer.body

        lies = ("X-Forwarded-Prefix: /evil", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: http")
        status, body = await ask("music.example", *lies)
        assert status == 200
        assert f"https://music.example/music/play/{clip['id']}/stream".encode() in body
        assert (await ask("evil.example"))[0] == 421
        assert (await ask("music.example", "X-Forwarded-Host: evil.example"))[0] == 421
        # Wrong keys of a client that names itself anew each time are those of one address.
        statuses = []
        for number in range(40):
            fields = ("X-API-Key: wrong", f"X-Forwarded-For: 6.6.6.{number}")
            wrong = head("PATCH", f"/play/{clip['id']}", *fields).replace(b"localhost", b"music.example")
            statuses.append((await exchange(port, wrong)).status)
        assert 429 in statuses
        right = head("DELETE", f"/play/{clip['id']}", f"X-API-Key: {KEY}")
        assert (await exchange(port, right.replace(b"localhost", b"music.example"))).status == 204
