"""Connections that break, and services that end and come back."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from sqlalchemy import URL as DatabaseURL
from yarl import URL

from mosic.client.failures import TryAgain
from mosic.client.uploads import Uploads
from tests.support.databases import shown
from tests.support.ports import free_port
from tests.support.relays import Relay, cutting_every, relaying
from tests.support.service import AUTH, KEY, Service
from tests.support.sounds import wav
from tests.support.uploading import OVERHEAD, ended, noise, remembered, run, sha256, start, stored
from tests.support.waiting import until, wait_until


async def test_a_second_call_sends_only_the_rest(
    relay: Relay, service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = noise(3_000_000)
    Path("a.wav").write_bytes(content)
    relay.cut_at = 2_000_000
    assert await run("a.wav", url=relay.url, retries=0) == 1
    assert "failed  a.wav: the connection to 127.0.0.1" in capsys.readouterr().err
    ((key, upload_id),) = remembered(tmp_path).items()
    assert key == f"{relay.url} {sha256(content)}"
    answer = await service.http.head(f"/play/uploads/{upload_id}", headers={**AUTH, "Tus-Resumable": "1.0.0"})
    offset = int(answer.headers["Upload-Offset"])
    assert offset > 1_000_000

    before = relay.sent
    assert await run("a.wav", url=relay.url) == 0
    assert len(content) - offset <= relay.sent - before <= len(content) - offset + OVERHEAD
    assert relay.patches == 2
    assert await stored(service) == {"a": sha256(content)}
    assert remembered(tmp_path) == {}


async def test_a_break_is_overcome(relay: Relay, service: Service) -> None:
    content = noise(3_000_000)
    Path("a.wav").write_bytes(content)
    relay.cut_at = 2_000_000
    assert await run("a.wav", url=relay.url) == 0
    assert relay.sent < 4_500_000
    assert await stored(service) == {"a": sha256(content)}


async def test_a_connection_that_breaks_again_and_again_is_no_failure_while_it_gets_on(
    relay: Relay, service: Service
) -> None:
    content = noise(3_000_000)
    Path("a.wav").write_bytes(content)
    async with cutting_every(1_000_000, relay):
        assert await run("a.wav", url=relay.url, retries=1) == 0
    assert relay.patches >= 3
    assert await stored(service) == {"a": sha256(content)}


async def test_an_upload_that_the_service_no_longer_has_is_begun_anew(
    relay: Relay, service: Service, tmp_path: Path
) -> None:
    content = noise(1_000_000)
    Path("a.wav").write_bytes(content)
    relay.cut_at = 600_000
    assert await run("a.wav", url=relay.url, retries=0) == 1
    (upload_id,) = remembered(tmp_path).values()
    headers = {**AUTH, "Tus-Resumable": "1.0.0"}
    assert (await service.http.delete(f"/play/uploads/{upload_id}", headers=headers)).status_code == 204
    assert await run("a.wav", url=relay.url) == 0
    assert await stored(service) == {"a": sha256(content)}


async def test_a_service_that_goes_away_is_waited_for(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    content = noise(3_000_000)
    Path("a.wav").write_bytes(content)
    port = free_port()
    async with relaying(service.port, port) as relay:
        relay.cut_at = 1_000_000
        running = asyncio.create_task(run("a.wav", url=relay.url))
        await until(lambda: relay.cut_at is None)
    said = ""
    async with asyncio.timeout(60):
        while "refused" not in said:
            said += capsys.readouterr().err
            await asyncio.sleep(0.01)
    async with relaying(service.port, port):
        assert await running == 0
    waits = r"mosic: a\.wav: (.*); trying again in [0-9.]+ s \([1-8] of 8\)\n"
    broken, refused, *_ = re.findall(waits, said)
    assert broken.startswith(f"the connection to 127.0.0.1:{port} was lost: ")
    assert refused == f"cannot connect to 127.0.0.1:{port}: Connection refused"
    assert await stored(service) == {"a": sha256(content)}


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
async def test_where_there_never_was_a_service_nobody_waits(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://{host}:{free_port()}"
    for seed in range(8):
        Path(f"{seed}.wav").write_bytes(wav(seed=seed))
    # It would wait for longer than a test may take.
    assert await run(".", url=url, retries=1000) == 1
    out, err = capsys.readouterr()
    assert out == "Added 0, already there 0, failed 0, not sent 8.\n"
    assert err.startswith(f"mosic: cannot connect to {url.removeprefix('http://')}: ")
    assert err.endswith(f". Is the service running, and is {url} its URL?\n")
    assert err.count("\n") == 1


async def test_a_service_that_stays_away_is_not_waited_for_by_every_file(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(8):
        Path(f"{seed}.wav").write_bytes(noise(1_000_000, seed=seed))
    port = free_port()
    async with relaying(service.port, port) as relay:
        relay.cut_at = 500_000
        running = asyncio.create_task(run(".", url=relay.url, retries=2, jobs=1))
        await until(lambda: relay.cut_at is None)
    assert await running == 1
    out, err = capsys.readouterr()
    # The one that it broke away from, and the one that found it gone.
    assert out == "Added 0, already there 0, failed 1, not sent 7.\n"
    assert err.endswith(f"\nmosic: cannot connect to 127.0.0.1:{port}: Connection refused\n")
    assert "2.wav" not in err


async def test_an_answer_of_5xx_is_tried_again_as_often_as_asked_for(
    relay: Relay, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.wav").write_bytes(wav())
    busy = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
    relay.instead = [busy] * 2
    assert await run("a.wav", url=relay.url, retries=1) == 1
    out, err = capsys.readouterr()
    assert out == "Added 0, already there 0, failed 0, not sent 1.\n"
    assert re.fullmatch(
        r"mosic: a.wav: HTTP 502 Bad Gateway; trying again in 0\.[0-9] s \(1 of 1\)\n"
        r"mosic: HTTP 502 Bad Gateway\n",
        err,
    )
    relay.instead = [busy] * 2
    assert await run("a.wav", url=relay.url, retries=2) == 0


async def test_retry_after_is_honoured_and_told_of(relay: Relay, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.wav").write_bytes(wav())
    relay.instead = [b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"]
    assert await run("a.wav", url=relay.url) == 0
    assert relay.connected_at[1] - relay.connected_at[0] >= 1
    assert capsys.readouterr().err == "mosic: a.wav: HTTP 503 Busy; trying again in 1.0 s (1 of 8)\n"


async def test_one_that_says_nothing_is_not_waited_for_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        async with Uploads(URL(f"http://127.0.0.1:{port}"), KEY, timeout=0.2) as server:
            with pytest.raises(TryAgain, match=f"no response from 127.0.0.1:{port}"):
                await server.has(sha256(b""))


async def test_a_slow_line_that_flows_is_given_its_time(relay: Relay, service: Service) -> None:
    relay.rate = 120_000
    content = noise(600_000)
    parts = [content[at : at + 65536] for at in range(0, len(content), 65536)]

    async def chunks() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    async with Uploads(URL(relay.url), KEY, timeout=4) as server:
        upload_id = await server.create(len(content), "a.wav", sha256(content))
        began = time.monotonic()
        assert await server.append(upload_id, 0, len(content), chunks()) == len(content)
        assert time.monotonic() - began > 4
    assert await stored(service) == {"a": sha256(content)}


@contextmanager
def served(media_root: Path, database_url: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`mosic serve` as a process that can be killed."""
    environment = {
        **os.environ,
        "MOSIC_MEDIA_ROOT": str(media_root),
        "MOSIC_DATA_DIR": str(media_root / "data"),
        "MOSIC_DATABASE_URL_OVERRIDE": database_url,
        "MOSIC_APP_PORT": str(port),
        "MOSIC_PROBE_WORKERS": "1",
    }

    def ready() -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/ready", timeout=60).status_code == 200
        return False

    process = subprocess.Popen(
        [sys.executable, "-m", "mosic", "serve"],
        env=environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(ready)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
async def test_a_service_that_is_killed_and_started_again(tmp_path: Path, database_url: DatabaseURL) -> None:
    content = noise(4_000_000)
    Path("a.wav").write_bytes(content)
    port, database = free_port(), shown(database_url)
    async with relaying(port) as relay:
        relay.rate = 4_000_000
        with served(tmp_path / "media", database, port):
            running = asyncio.create_task(run("a.wav", url=relay.url))
            await until(lambda: relay.sent > 3_000_000)
        assert not running.done()
        with served(tmp_path / "media", database, port):
            assert await running == 0
            assert relay.sent < 6_500_000
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
                (clip,) = (await http.get("/play")).json()
    assert clip["sha256"] == sha256(content)


@pytest.mark.slow
async def test_two_calls_at_once_send_everything_once(relay: Relay, service: Service) -> None:
    contents = [noise(1_000_000, seed=seed) for seed in range(3)]
    for seed, content in enumerate(contents):
        Path(f"{seed}.wav").write_bytes(content)
    relay.rate = 2_000_000
    both = [await start(".", "--url", relay.url), await start(".", "--url", relay.url)]
    outputs = [await ended(process) for process in both]
    assert [status for status, _, _ in outputs] == [0, 0]
    lines = "".join(out for _, out, _ in outputs).splitlines()
    assert sorted(line for line in lines if ".wav" in line) == sorted(
        f"{word} ./{seed}.wav" for seed in range(3) for word in ("added  ", "present")
    )
    assert relay.sent < 3_000_000 + 6 * OVERHEAD
    assert await stored(service) == {str(seed): sha256(content) for seed, content in enumerate(contents)}


@pytest.mark.parametrize("state", ["/proc/nowhere", "garbage"])
async def test_without_a_usable_memory_it_works_all_the_same(
    state: str, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if state == "garbage":
        folder = tmp_path / "state/mosic"
        folder.mkdir(parents=True)
        (folder / "uploads.json").write_text('{"uploads": {"x": ["half')
    else:
        monkeypatch.setenv("XDG_STATE_HOME", state)
    Path("a.wav").write_bytes(wav())
    assert await run("a.wav", url=service.url) == 0
    assert await stored(service) == {"a": sha256(wav())}


@pytest.mark.parametrize("change", ["is cut", pytest.param("is written over", marks=pytest.mark.slow)])
async def test_a_file_that_changes_on_the_way_fails(
    change: str, relay: Relay, service: Service, tmp_path: Path
) -> None:
    before = len(service.files())
    path = Path("a.wav")
    path.write_bytes(noise(10_000_000))
    relay.rate = 4_000_000
    process = await start("a.wav", "--url", relay.url)
    await until(lambda: relay.sent > 500_000)
    with path.open("r+b") as file:
        if change == "is cut":
            file.truncate(100_000)
        else:
            file.seek(9_000_000)
            file.write(b"other")
    status, _, err = await ended(process)
    assert status == 1
    assert re.fullmatch("failed  a.wav: it (changed|became shorter) while it was being read\n", err)
    assert await stored(service) == {}
    # Nor is anything left of it.
    assert len(service.files()) == before
    assert remembered(tmp_path) == {}
