"""Under which hosts the service answers, and that a page of another name cannot read it."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from mosic.errors import StartupError
from mosic.metrics import Metrics
from mosic.settings import Settings, load_settings
from mosic.web.hosts import allowed_hosts, only_allowed_hosts
from mosic.web.instrument import RequestRecorder
from tests.support.databases import shown
from tests.support.exchange import Answer, exchange
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav

ITSELF = [
    "localhost",
    "LocalHost:8000",
    "localhost.",
    "app.localhost",
    "127.0.0.1",
    "127.8.8.8:80",
    "[::1]:8000",
]
OTHERS = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "localhost.evil.example:8000",
    "evil-localhost",
    "127.0.0.1.evil.example",
    "evil.example:localhost",
    "192.0.2.1",
    "[2001:db8::1]",
    "x@localhost",
    "localhost,evil.example",
    "",
]


async def ask(service: Service, host: str, *lines: str, path: str = "/play", method: str = "GET") -> Answer:
    text = "\r\n".join((f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *lines, "", ""))
    return await exchange(service.port, text.encode("latin-1"))


async def nothing() -> dict[str, Any]:
    return {"type": "http.request"}


async def status_of(asked: str, *fields: tuple[str, str], path: str = "/play", **settings: Any) -> int:
    """With such settings, without a service behind it."""
    statuses = []

    async def app(*_: Any) -> None:
        statuses.append(200)

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    headers = [(name.lower().encode(), text.encode("latin-1")) for name, text in (("Host", asked), *fields)]
    scope = {"type": "http", "method": "GET", "path": path, "client": ("127.0.0.1", 1), "headers": headers}
    hosts = only_allowed_hosts(app, Settings(_env_file=None, **settings), RequestRecorder(Metrics(), ""))
    await hosts(scope, nothing, send)
    return int(statuses[0])


async def test_a_page_of_another_name_reads_nothing(tmp_path: Path, database_url: URL) -> None:
    """DNS rebinding: it reaches the default address from this very machine, and sends any field but Host."""
    async with running_service(tmp_path / "media", shown(database_url), allowed_hosts="") as service:
        clip = (await service.http.post("/play/upload", content=wav(), headers=AUTH)).json()
        paths = (
            "/play",
            "/clips",
            f"/play/{clip['id']}",
            f"/play/{clip['id']}/stream",
            "/metrics",
            "/docs",
            "/x",
        )
        lies = ("X-Forwarded-Host: localhost", "Forwarded: host=localhost", "X-API-Key: test-key")
        for path in paths:
            for method in ("GET", "HEAD", "OPTIONS", "POST"):
                answer = await ask(service, "evil.example:8000", *lies, path=path, method=method)
                assert answer.status == 421, (method, path)
                assert answer.fields["x-request-id"]
            problem = json.loads((await ask(service, "evil.example", path=path)).body)
            assert problem["code"] == "host-not-allowed"
            assert "MOSIC_ALLOWED_HOSTS" in problem["detail"]
            assert clip["id"] not in json.dumps(problem)
        assert (await service.http.get(f"/play/{clip['id']}/stats")).json()["play_count"] == 0
        for path in ("/health", "/ready"):
            assert (await ask(service, "evil.example", path=path)).status == 200
        for host in (*ITSELF, socket.gethostname()):
            assert (await ask(service, host)).status == 200, host


@pytest.mark.parametrize("host", OTHERS)
async def test_other_hosts(host: str) -> None:
    assert await status_of(host) == 421
    assert await status_of(host, allowed_hosts="music.example") == 421
    assert await status_of(host, host="0.0.0.0") == 200  # noqa: S104


@pytest.mark.parametrize("host", ITSELF)
async def test_this_machine(host: str) -> None:
    assert await status_of(host) == 200
    assert await status_of(host, allowed_hosts="music.example") == 200


async def test_the_hosts_that_were_named() -> None:
    named: dict[str, Any] = {"allowed_hosts": "music.example, *.radio.example", "host": "0.0.0.0"}  # noqa: S104
    for host in ("music.example", "MUSIC.example.:8443", "a.radio.example", "a.b.radio.example:1"):
        assert await status_of(host, **named) == 200
    for host in ("radio.example", "xradio.example", "a.music.example", "music.example.evil.example"):
        assert await status_of(host, **named) == 421
    assert await status_of("music.example", public_url="https://music.example:8443/x") == 200
    assert await status_of("[2001:db8::1]:80", allowed_hosts="2001:db8::1") == 200


async def test_what_a_trusted_proxy_was_asked_for_counts_as_well() -> None:
    """With a list. A proxy that is not trusted says nothing."""
    named: dict[str, Any] = {"allowed_hosts": "music.example"}
    for good, evil in (
        (("X-Forwarded-Host", "music.example"), ("X-Forwarded-Host", "evil.example")),
        (("Forwarded", "host=music.example"), ("Forwarded", 'host="evil.example:80"')),
    ):
        assert await status_of("localhost", good, **named) == 200
        assert await status_of("localhost", evil, **named) == 421
        assert await status_of("evil.example", good, **named) == 421
        assert await status_of("localhost", evil, forwarded_allow_ips="192.0.2.1", **named) == 200
        # nginx on this machine, as in the example.
        assert await status_of("localhost", evil) == 200


def test_where_every_host_is_allowed() -> None:
    everywhere: dict[str, Any] = {"host": "0.0.0.0"}  # noqa: S104
    assert allowed_hosts(Settings(_env_file=None, **everywhere)) == {"*"}
    assert "*" not in allowed_hosts(Settings(_env_file=None, **everywhere, allowed_hosts="a.example"))
    for loopback in ("127.0.0.1", "::1", "localhost", "127.1.2.3"):
        assert "*" not in allowed_hosts(Settings(_env_file=None, host=loopback))


@pytest.mark.parametrize("more", [{}, {"public_url": "https://music.example"}])
async def test_any_host_is_said_in_the_log(
    tmp_path: Path, database_url: URL, caplog: pytest.LogCaptureFixture, more: dict[str, str]
) -> None:
    async with running_service(tmp_path / "media", shown(database_url), allowed_hosts="*", **more):
        assert ("MOSIC_ALLOWED_HOSTS" in caplog.text) == (not more)


@pytest.mark.parametrize("text", ["https://music.example", "music.example:80", "a b", "music.*", "*music"])
def test_what_is_no_host(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSIC_ALLOWED_HOSTS", text)
    with pytest.raises(StartupError, match="MOSIC_ALLOWED_HOSTS"):
        load_settings()
