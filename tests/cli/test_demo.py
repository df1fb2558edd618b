"""`mosic demo` as a person runs it, and the lines that it ends in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import URL

from mosic.cli.demo import where_to_listen
from mosic.settings import Settings
from tests.cli.test_commands import mosic
from tests.support.databases import shown
from tests.support.house import House
from tests.support.service import running_service

CLIP = UUID("01935b7e-0000-7000-8000-00000000000a")


@pytest.fixture
def folder(short_tmp: Path) -> Path:
    made = short_tmp / f"demo-{os.urandom(4).hex()}"
    made.mkdir()
    return made


@contextlib.contextmanager
def ending(house: House) -> Iterator[House]:
    try:
        yield house
    finally:
        house.end()


def heard(said: str) -> list[int]:
    """What is answered at the URLs that begin a line, where terminals and people look for them."""
    return [
        httpx.get(url, timeout=60).status_code for url in re.findall(r"^(http://\S+)  \S", said, re.MULTILINE)
    ]


@pytest.mark.slow
async def test_twice_adds_six_clips_once(folder: Path) -> None:
    with ending(House(folder)) as house:
        nothing = house.run("demo")
        assert nothing.returncode == 1
        assert "There is no service here" in nothing.stderr
        url = await house.url(house.start("serve"))
        told = House(folder, MOSIC_APP_PORT=url.rpartition(":")[2])
        first = told.run("demo")
        assert (first.returncode, first.stdout.count("added")) == (0, 6), first.stderr
        assert "\nListen:\n" in first.stdout
        assert heard(first.stdout) == [200] * 6
        clips = httpx.get(f"{url}/play", timeout=60).json()
        assert len(clips) == 6
        assert len({clip["genre"] for clip in clips}) == 6
        assert all(3 < clip["duration"] < 15 for clip in clips)
        # While the service runs, both share its database.
        again = told.run("demo")
        assert (again.returncode, again.stdout.count("present")) == (0, 6)
        assert heard(again.stdout) == [200] * 6
        assert house.run("migrate").returncode == 0
        assert httpx.get(f"{url}/ready", timeout=60).status_code == 200


@pytest.mark.usefixtures("logs_restored")
async def test_where_reads_need_a_key_the_urls_are_signed(
    tmp_path: Path, database_url: URL, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command runs in this process, which is quicker."""
    url = shown(database_url)
    async with running_service(tmp_path / "media", url, require_key_for_reads=True) as service:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MOSIC_MEDIA_ROOT", str(service.settings.media_root))
        monkeypatch.setenv("MOSIC_DATA_DIR", str(service.settings.data_dir))
        monkeypatch.setenv("MOSIC_DATABASE_URL_OVERRIDE", url)
        monkeypatch.setenv("MOSIC_APP_PORT", str(service.port))
        monkeypatch.setenv("MOSIC_REQUIRE_KEY_FOR_READS", "true")
        assert await mosic("demo") == 0
        said = capsys.readouterr().out
        assert "signature=" in said
        assert await asyncio.to_thread(heard, said) == [200] * 6


def lines(port: int, **settings: Any) -> tuple[str, str]:
    """All sentences, and the line of the one clip."""
    *said, line = where_to_listen(Settings(app_port=port, **settings), [(CLIP, "Rain")])
    return " ".join(said), line


def test_what_is_said_where_it_is_not_heard(tmp_path: Path) -> None:
    path = f"/play/{CLIP}/stream"
    public, secret = "https://a.example/b", SecretStr("s" * 32)
    with socket.socket() as taken:  # where nobody listens, and nobody can begin to
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        said, line = lines(port)
        assert "Start it with `mosic serve`" in said
        assert line == f"http://localhost:{port}{path}  Rain"
        assert lines(port, public_url=public)[1] == f"{public}{path}  Rain"
        closed, line = lines(port, require_key_for_reads=True, url_secret=secret)
        assert "signed" in closed
        assert line.startswith(f"http://localhost:{port}{path}?expires=")
        # The service is to make its secret, under its own account; until then there is none to sign with.
        unsigned, line = lines(port, require_key_for_reads=True, data_dir=tmp_path)
        assert "with the API key" in unsigned
        assert line == f"http://localhost:{port}{path}  Rain"
        assert [*tmp_path.iterdir()] == []
    with serving(HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)) as stranger:
        assert "is not the service" in lines(stranger)[0]
    said, line = lines(0)
    assert "the URL in the service's log" in said
    assert line == f"{path}  Rain"


@contextlib.contextmanager
def serving(server: HTTPServer) -> Iterator[int]:
    """Its port, while it serves."""
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
