"""Loops behind the requests survive faults of their own, and are seen to fail."""

from __future__ import annotations

import ast
import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from sqlalchemy import URL

from mosic import background
from mosic.audio.isolation import ProbePool
from mosic.background import Background, end
from mosic.core import sweep
from mosic.core.plays import PlayCounter
from mosic.core.uploads.watchdog import WriterWatchdog
from mosic.db import changes
from mosic.keys import open as key_files
from mosic.metrics.database import DatabaseMetrics
from mosic.postgres import EmbeddedPostgres, open_embedded
from mosic.settings.timings import Timings
from mosic.staging.writer import FileWriter
from tests.support.databases import shown
from tests.support.service import AUTH, KEY, Service, running_service
from tests.support.sounds import wav

SOURCE = Path(background.__file__).parent


class FailsOnce:
    """Stands for a function: its first call raises what no loop expects, the next ones are told."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._failed = False
        self.worked = asyncio.Event()

    def __get__(self, owner: object, _: type) -> Callable[..., Any]:
        return lambda *arguments, **named: self(owner, *arguments, **named)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if not self._failed:
            self._failed = True
            raise ZeroDivisionError
        self.worked.set()
        return self._function(*arguments, **named)


@pytest.fixture
async def service(tmp_path: Path, database_url: URL) -> AsyncIterator[Service]:
    keys = tmp_path / "keys"
    keys.write_text("phone:a-key-that-nobody-uses-here-0123456789\n")
    keys.chmod(0o600)
    async with running_service(
        tmp_path / "media",
        shown(database_url),
        sweep_seconds=1,
        metrics_refresh_seconds=1,
        api_keys_file=keys,
        timings=Timings(key_file_check=0.05),
    ) as running:
        yield running


async def listen(service: Service) -> None:
    clip = (await service.http.put("/play/upload/a.wav", content=wav(), headers=AUTH)).json()
    assert (await service.http.get(f"/play/{clip['id']}/stream")).status_code == 200


async def upload_twice(service: Service) -> None:
    first = await service.http.put("/play/upload/a.wav", content=wav(seed=1), headers=AUTH)
    assert (first.status_code, first.json()["code"]) == (503, "unavailable")
    again = await service.http.put("/play/upload/a.wav", content=wav(seed=1), headers=AUTH)
    assert again.status_code == 201


async def send_slowly(service: Service) -> None:
    content = wav(1.0)
    fields = {**AUTH, "Tus-Resumable": "1.0.0"}
    length = {"Upload-Length": str(len(content))}
    made = await service.http.post("/play/uploads", headers=fields | length)

    async def pieces() -> AsyncIterator[bytes]:
        # For some seconds: the loop fails at its first turn and pauses then.
        for piece in range(20):
            yield content[piece * len(content) // 20 : (piece + 1) * len(content) // 20]
            await asyncio.sleep(0.15)

    fields |= {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    sent = await service.http.patch(made.headers["location"], content=pieces(), headers=fields)
    assert sent.status_code == 204


async def nothing(_: Service) -> None:
    """The loop does it by itself."""


LOOPS: dict[str, tuple[object, str, Callable[[Service], Awaitable[None]]]] = {
    "plays": (PlayCounter, "_take_bytes", listen),
    "probes": (ProbePool, "_do", upload_twice),
    "writers-flush": (FileWriter, "flush", send_slowly),
    "writers-watch": (WriterWatchdog, "_stop_replaced", send_slowly),
    "sweep": (sweep, "sweep", nothing),
    "watch": (DatabaseMetrics, "seen", nothing),
    "keys": (key_files, "_look", nothing),
}


async def test_changes_are_heard_of_again(
    tmp_path: Path, database_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This loop connects again after any error, so none of them reaches the supervisor."""
    fails = FailsOnce(changes._until_lost)
    monkeypatch.setattr(changes, "_until_lost", fails)
    async with running_service(tmp_path / "media", shown(database_url)):
        async with asyncio.timeout(60):
            await fails.worked.wait()


@pytest.mark.parametrize("name", LOOPS)
async def test_a_loop_that_fails_goes_on(
    service: Service, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    owner, function, use = LOOPS[name]
    fails = FailsOnce(getattr(owner, function))
    monkeypatch.setattr(owner, function, fails)
    await use(service)
    async with asyncio.timeout(60):
        await fails.worked.wait()
    assert await service.metric(f'mosic_background_failures_total{{loop="{name}"}}') == 1
    assert (await service.http.get("/ready")).status_code == 200


async def test_postgres_is_watched_again(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = FailsOnce(EmbeddedPostgres._wait_until_lost)
    monkeypatch.setattr(EmbeddedPostgres, "_wait_until_lost", fails)
    failed: list[str] = []
    server = await open_embedded(short_tmp / "watched")
    task = Background(failed.append).start("postgres", server.keep_running)
    async with asyncio.timeout(60):
        await fails.worked.wait()
    await end(task)
    await server.close()
    assert failed == ["postgres"]


async def test_one_that_keeps_failing_is_shown(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(key_files, "_look", fail)
    async with asyncio.timeout(60):
        while (answer := await service.http.get("/ready")).status_code == 200:
            await asyncio.sleep(0.1)
    assert answer.json()["failed"] == ["background"]
    assert "keys" in answer.json()["detail"]
    assert KEY not in answer.text


async def test_one_that_was_well_for_long_is_no_longer_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    loops, failures = Background(first_pause_seconds=0.0), 0

    async def fail() -> None:
        nonlocal failures
        failures += 1
        if failures == 3:
            await asyncio.Event().wait()
        raise ZeroDivisionError

    monkeypatch.setattr(background, "_MANY", 2)
    task = loops.start("a", fail)
    async with asyncio.timeout(60):
        while failures < 3:
            await asyncio.sleep(0)
    assert loops.failing() == ["a"]
    now += 1000
    assert loops.failing() == []
    await end(task)


async def test_one_that_fails_for_days_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause has a limit from which nothing follows for the next one."""
    pauses: list[float] = []
    failures = 0

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3000:
            raise asyncio.CancelledError

    async def fail() -> None:
        nonlocal failures
        failures += 1
        raise ZeroDivisionError

    monkeypatch.setattr(background, "_log", Mock())
    monkeypatch.setattr("mosic.background.asyncio.sleep", pause)
    with pytest.raises(asyncio.CancelledError):
        await Background().start("a", fail)
    monkeypatch.undo()
    assert failures == 3000
    assert (pauses[0], pauses[-1]) == (0.2, background._PAUSE_SECONDS)


async def test_one_that_returns_or_is_cancelled_has_not_failed() -> None:
    failed: list[str] = []
    loops = Background(failed.append)
    await loops.start("returns", lambda: asyncio.sleep(0))
    task = loops.start("waits", lambda: asyncio.sleep(3600))
    await asyncio.sleep(0)
    await end(task)
    assert task.cancelled()
    assert failed == []


def test_no_other_place_starts_a_loop() -> None:
    """A task with a name of Mosic's is one that lasts."""
    for path in SOURCE.rglob("*.py"):
        if path == Path(background.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("create_task"):
                names = [ast.unparse(word.value) for word in node.keywords if word.arg == "name"]
                assert names in ([], ["'mosic-facts'"]), path  # a look-up, which ends
