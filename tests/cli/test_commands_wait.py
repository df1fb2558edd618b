"""`mosic list`, `show`, `edit` and `rm` while the service says that it is busy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from mosic.cli.main import app
from tests.support.databases import shown
from tests.support.relays import Relay, relaying
from tests.support.service import AUTH, KEY, running_service
from tests.support.sounds import wav

BUSY = b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
BUSY_FOR_LONG = BUSY.replace(b": 1\r", b": 86400\r")
# Says nothing of when to come back, and may have been written by a proxy after the service did the work.
LOST = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
async def relay(
    tmp_path: Path, database_url: URL, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Relay, str]]:
    """To a service, and the id of its only clip."""
    monkeypatch.setenv("MOSIC_API_KEY", KEY)
    async with (
        running_service(tmp_path / "media", shown(database_url), trash_days=7) as service,
        relaying(service.port) as made,
    ):
        answer = await service.http.put("/play/upload", content=wav(), headers=AUTH)
        yield made, answer.json()["id"]


async def mosic(relay: Relay, *arguments: str) -> int:
    def call() -> int:
        try:
            app([*arguments, "--url", relay.url], prog_name="mosic")
        except SystemExit as end:
            return int(end.code or 0)
        raise AssertionError

    return await asyncio.to_thread(call)


async def test_a_busy_service_is_asked_again(
    relay: tuple[Relay, str], capsys: pytest.CaptureFixture[str]
) -> None:
    to, clip_id = relay
    for command in (
        ["list"],
        ["show", clip_id],
        ["edit", clip_id, "--title", "Other"],
        ["rm", clip_id],
        ["rm", "--undo", clip_id],
    ):
        to.instead = [BUSY]
        assert await mosic(to, *command) == 0, command
        out, err = capsys.readouterr()
        assert clip_id in out or "Other" in out, command
        assert err.startswith("mosic: HTTP 503 Busy; trying again in 1.0 s (1 of 8)\n")


@pytest.mark.parametrize(
    ("response", "said"), [(BUSY_FOR_LONG, "asks to wait 86400 s"), (LOST, "502 Bad Gateway")]
)
async def test_others_fail_at_once(
    relay: tuple[Relay, str], capsys: pytest.CaptureFixture[str], response: bytes, said: str
) -> None:
    to, clip_id = relay
    to.instead = [response]
    assert await mosic(to, "rm", clip_id) == 1
    assert said in capsys.readouterr().err
    assert await mosic(to, "show", clip_id) == 0
