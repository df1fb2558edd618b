"""`mosic upload` against a real service, over connections that break, with files that are not all music."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import io
import json
import os
import pty
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import URL as DatabaseURL
from yarl import URL

from mosic.cli.upload import Options, upload
from mosic.client.failures import TryAgain
from mosic.client.uploads import Uploads
from tests.support.databases import shown
from tests.support.ports import free_port
from tests.support.relays import Relay, cutting_every, relaying
from tests.support.service import AUTH, KEY, Service
from tests.support.sounds import wav
from tests.support.waiting import until

MOSIC = [sys.executable, "-m", "mosic", "upload"]
needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
# Headers of the few requests that one file takes.
OVERHEAD = 8 * 1024


def noise(size: int, *, seed: int = 0) -> bytes:
    """A WAV of about so many bytes that nothing can compress."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44100)
        file.writeframes(random.Random(seed).randbytes(size // 4 * 4))
    return out.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def _somebody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a folder and a state of their own, and the key in the environment."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("MOSIC_API_KEY", KEY)


async def run(*paths: str, url: str | None = None, **options: Any) -> int:
    """The command in this process; it has a loop of its own."""
    return await asyncio.to_thread(upload, paths, Options(url=url, **options))


async def start(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    """The command as a process."""
    return await asyncio.create_subprocess_exec(
        *MOSIC,
        *arguments,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    assert "Traceback" not in err.decode()
    return process.returncode, out.decode(), err.decode()


async def stored(service: Service) -> dict[str, str]:
    """The title of each clip, and the hash of what is streamed."""
    clips = (await service.http.get("/play", params={"limit": 500})).json()
    return {
        clip["title"]: sha256((await service.http.get(f"/play/{clip['id']}/stream")).content)
        for clip in clips
    }


def remembered(tmp_path: Path) -> dict[str, str]:
    """Upload ids by server and hash."""
    file = tmp_path / "state/mosic/uploads.json"
    return {key: entry["id"] for key, entry in json.loads(file.read_text())["uploads"].items()}


@pytest.fixture
async def relay(service: Service) -> AsyncIterator[Relay]:
    async with relaying(service.port) as made:
        yield made


# What is found, sent and said


async def test_a_folder_is_sent_once(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    contents = {
        f"music/{name}": wav(seed=seed) for seed, name in enumerate(("b.wav", "a/Ü 1.WAV", "a/b/c.wav"))
    }
    for name, content in contents.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for junk in ("music/cover.jpg", "music/a/.hidden.wav", "music/.trash/old.wav", "music/a/notes.txt"):
        Path(junk).parent.mkdir(exist_ok=True)
        Path(junk).write_bytes(wav(seed=9))
    Path("music/a/again").symlink_to("..")
    os.mkfifo("music/pipe.mp3")

    assert await run("music", url=service.url, jobs=1) == 0
    size = sum(map(len, contents.values()))
    assert capsys.readouterr().out == (
        "added   music/b.wav\n"
        "added   music/a/Ü 1.WAV\n"
        "added   music/a/b/c.wav\n"
        f"Added 3 ({size / 1000:.1f} kB), already there 0, failed 0. "
        "Skipped 5 (hidden, or no audio file by name).\n"
    )
    assert await stored(service) == {Path(name).stem: sha256(content) for name, content in contents.items()}

    assert await run("music", "music/a/b/c.wav", "music/a", url=service.url, jobs=1) == 0
    out, err = capsys.readouterr()
    assert out == (
        "present music/b.wav\n"
        "present music/a/Ü 1.WAV\n"
        "present music/a/b/c.wav\n"
        "Added 0, already there 3, failed 0. Skipped 5 (hidden, or no audio file by name).\n"
    )
    assert err == ""


async def test_a_named_file_is_sent_whatever_its_name(service: Service) -> None:
    Path(".sound").write_bytes(wav())
    assert await run(".sound", ".sound", url=service.url) == 0
    assert list((await stored(service)).values()) == [sha256(wav())]


async def test_what_cannot_be_read_or_is_refused_fails_and_the_others_go_on(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.wav").write_bytes(wav(seed=1))
    Path("gone.mp3").symlink_to("nowhere.mp3")
    Path("circle.mp3").symlink_to("circle.mp3")
    Path("text.mp3").write_text("no sound at all\n" * 100)
    Path("nothing.mp3").touch()
    Path("z.wav").write_bytes(wav(seed=2))
    assert await run(".", url=service.url, jobs=2) == 1
    out, err = capsys.readouterr()
    expected = [
        "./circle.mp3: Too many levels of symbolic links",
        "./gone.mp3: No such file or directory",
        "./nothing.mp3: The file is empty. (unsupported-media)",
        "./text.mp3: This file is text. (unsupported-media)",
    ]
    lines = out.splitlines()
    assert sorted(lines[:-1]) == ["added   ./a.wav", "added   ./z.wav"]
    assert lines[-1].startswith("Added 2 (")
    assert lines[-1].endswith(", already there 0, failed 4.")
    # Each once, where errors go.
    assert sorted(err.splitlines()) == [f"failed  {reason}" for reason in expected]
    assert set(await stored(service)) == {"a", "z"}
    assert remembered(tmp_path) == {}


async def test_a_name_cannot_touch_the_terminal(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    Path(os.fsdecode(b"caf\xe9 \x1b[2J\n.wav")).write_bytes(wav())
    assert await run(".", url=service.url) == 0
    assert capsys.readouterr().out.startswith("added   ./caf\\udce9 \\x1b[2J\\n.wav\n")
    assert len(await stored(service)) == 1


async def test_the_same_bytes_twice_are_sent_once(relay: Relay, capsys: pytest.CaptureFixture[str]) -> None:
    content = noise(500_000)
    for name in ("a.wav", "b.wav", "c.wav"):
        Path(name).write_bytes(content)
    assert await run(".", url=relay.url, jobs=3) == 0
    assert capsys.readouterr().out.endswith("already there 2, failed 0.\n")
    assert relay.sent < len(content) + 3 * OVERHEAD


# Keys and addresses


async def test_a_wrong_key_is_said_once_and_never_shown(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOSIC_API_KEY", "no-such-key-1")
    Path("a.wav").write_bytes(wav(seed=1))
    Path("b.wav").write_bytes(wav(seed=2))
    assert await run("a.wav", "b.wav", url=service.url, jobs=1) == 1
    out, err = capsys.readouterr()
    assert out == "Added 0, already there 0, failed 0, not sent 2.\n"
    assert err == "mosic: The key in the header X-API-Key is not valid. (unauthorized)\n"
    assert "no-such-key-1" not in out + err
    assert await run("a.wav", "b.wav", url=service.url, api_key=f"{KEY},other") == 0


async def test_the_first_of_several_keys_in_the_environment_is_used(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOSIC_API_KEY", f"{KEY}, next-key")
    monkeypatch.setenv("MOSIC_APP_PORT", str(service.port))
    Path("a.wav").write_bytes(wav())
    assert await run("a.wav") == 0


async def test_the_made_key_serves_for_this_machine_only(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MOSIC_API_KEY")
    Path("a.wav").write_bytes(wav())
    Path(".mosic").mkdir()
    Path(".mosic/api_key").write_text(KEY + "\n")
    assert await run("a.wav", url=f"{service.url}/") == 0
    # It is said which file that was.
    assert (
        capsys.readouterr().err == f"mosic: the API key is the one in {Path('.mosic/api_key').absolute()}\n"
    )
    assert await run("a.wav", url="http://music.invalid") == 2
    assert capsys.readouterr().err == "mosic: an API key is needed: give --api-key or set MOSIC_API_KEY\n"
    # The address of this very service, as the world sees it: with a key of the folder that goes with it only.
    monkeypatch.setenv("MOSIC_PUBLIC_URL", service.url.replace("127.0.0.1", "0.0.0.0"))  # noqa: S104
    assert await run("a.wav") == 2
    monkeypatch.setenv("MOSIC_DATA_DIR", ".mosic")
    assert await run("a.wav") == 0


async def test_a_folder_cannot_say_where_the_key_goes(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A downloaded album may have files that look like settings in it."""
    Path("a.wav").write_bytes(wav())
    async with relaying(0) as thief:
        thief.instead = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"] * 9
        Path(".env").write_text(
            f"MOSIC_PUBLIC_URL={thief.url}\nMOSIC_PORT={thief.port}\nMOSIC_HOST=localhost\n"
            "MOSIC_API_KEY=of-the-album-of-the-album\n"
        )
        # The key of the environment goes where the environment says.
        monkeypatch.setenv("MOSIC_PUBLIC_URL", service.url)
        assert await run("a.wav") == 0
        # Without a URL it goes to this machine; what listens there is no matter of the folder.
        monkeypatch.delenv("MOSIC_PUBLIC_URL")
        monkeypatch.setenv("MOSIC_APP_PORT", str(service.port))
        assert await run("a.wav") == 0
        # Nor does its key go anywhere.
        capsys.readouterr()
        monkeypatch.delenv("MOSIC_API_KEY")
        assert await run("a.wav", url=thief.url.replace("127.0.0.1", "music.invalid")) == 2
        assert f"{Path('.env').absolute()} is not read by this command" in capsys.readouterr().err
        assert thief.connected_at == []


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        (["gone.wav"], {}, "gone.wav: No such file or directory"),
        (["a.wav", "pipe"], {}, "pipe: neither a file nor a folder"),
        (["a.wav"], {"url": "music.example"}, "--url must be"),
        (["a.wav"], {"url": "http://music.example/?q"}, "--url must be"),
        (["a.wav"], {"url": "http://music.example:port"}, "--url must be"),
        (["a.wav"], {"url": ""}, "--url must be"),
        (["a.wav"], {"api_key": "two words"}, "--api-key must be"),
    ],
)
async def test_a_wrong_command_sends_nothing(
    paths: list[str], options: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.wav").write_bytes(wav())
    os.mkfifo("pipe")
    assert await run(*paths, **options) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"mosic: {message}")


@pytest.mark.slow
async def test_the_exit_status_is_that_of_the_process(service: Service) -> None:
    assert (await ended(await start("gone.wav")))[0] == 2
    Path("text.mp3").write_text("no sound")
    assert (await ended(await start("text.mp3", "--url", service.url)))[0] == 1


async def test_a_redirect_is_told_of_and_not_followed(capsys: pytest.CaptureFixture[str]) -> None:
    async with relaying(0) as other, relaying(0) as first:
        first.instead = [
            f"HTTP/1.1 307 Elsewhere\r\nLocation: http://u:pass@localhost:{other.port}/play\r\n"
            "Content-Length: 0\r\n\r\n".encode()
        ]
        Path("a.wav").write_bytes(wav())
        assert await run("a.wav", url=first.url) == 1
        assert other.connected_at == []
    err = capsys.readouterr().err
    assert err.startswith(f"mosic: {first.url} redirects to http://localhost:{other.port};")
    assert "pass" not in err


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<p>Hi</p>",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
    ids=["a page", "nothing there", "closed", "no HTTP"],
)
async def test_what_is_not_mosic_is_given_up_at_once(
    answer: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.wav", "b.wav"):
        Path(name).write_bytes(wav())
    async with relaying(0) as other:
        other.instead = [answer] * 9
        assert await run(".", url=other.url, jobs=1) == 1
        assert len(other.connected_at) == 1
    out, err = capsys.readouterr()
    assert out == "Added 0, already there 0, failed 0, not sent 2.\n"
    assert re.fullmatch(rf"mosic: \S*{other.port}(/play)? does not respond .*\?\n", err)


# Breaks


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
    relay.rate = 400_000
    content = noise(600_000)
    parts = [content[at : at + 65536] for at in range(0, len(content), 65536)]

    async def chunks() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    async with Uploads(URL(relay.url), KEY, timeout=1) as server:
        upload_id = await server.create(len(content), "a.wav", sha256(content))
        began = time.monotonic()
        assert await server.append(upload_id, 0, len(content), chunks()) == len(content)
        assert time.monotonic() - began > 1
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
    process = subprocess.Popen(
        [sys.executable, "-m", "mosic", "serve"],
        env=environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(1000):
            with suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/ready", timeout=60).status_code == 200:
                    break
            time.sleep(0.02)
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


# Proxies


async def test_one_request_per_attempt_or_as_many_as_asked_for(relay: Relay, service: Service) -> None:
    Path("a.wav").write_bytes(noise(1_000_000, seed=1))
    assert await run("a.wav", url=relay.url) == 0
    assert relay.patches == 1
    Path("b.wav").write_bytes(noise(1_000_000, seed=2))
    assert await run("b.wav", url=relay.url, chunk_mb=0.25) == 0
    assert relay.patches == 1 + 4
    assert (await stored(service))["b"] == sha256(Path("b.wav").read_bytes())


@contextmanager
def nginx(folder: Path, server: str, *, port: int) -> Iterator[Path]:
    """With this in its server block; gives the access log. Started by root, it becomes another account,
    which must be able to enter the folder."""
    folder.mkdir()
    (folder / "nginx.conf").write_text(
        f"""daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}
        http {{
            access_log {folder}/access.log; client_body_temp_path {folder}/body;
            server {{ listen 127.0.0.1:{port} {server} }}
        }}"""
    )
    process = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        for _ in range(1000):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.01)
        yield folder / "access.log"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
@needs_nginx
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
async def test_behind_a_proxy_with_tls_a_prefix_and_a_limit_of_1_mb(
    service: Service, short_tmp: Path
) -> None:
    key, certificate = Path("key.pem").absolute(), Path("certificate.pem").absolute()
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "1",
                "-subj",
                "/CN=localhost",
            ),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    content = noise(3_000_000)
    Path("a.wav").write_bytes(content)
    port = free_port()
    server = f"""ssl; ssl_certificate {certificate}; ssl_certificate_key {key}; client_max_body_size 1m;
        location /music/ {{ proxy_pass http://127.0.0.1:{service.port}/; }}"""
    with nginx(short_tmp / f"nginx-{port}", server, port=port) as log:
        arguments = ("a.wav", "--url", f"https://localhost:{port}/music")
        status, _, err = await ended(await start(*arguments))
        assert (status, f"no secure connection to localhost:{port}: " in err) == (1, True)
        status, _, err = await ended(await start(*arguments, SSL_CERT_FILE=str(certificate)))
        assert (status, err) == (0, "")
        assert log.read_text().count('" 204 ') == 3
    assert await stored(service) == {"a": sha256(content)}


@needs_nginx
async def test_behind_a_proxy_that_passes_on_only_what_it_has_whole(
    service: Service, short_tmp: Path
) -> None:
    """A connection that breaks now and then gets nothing through it, unless the requests are smaller."""
    content = noise(6_000_000)
    Path("a.wav").write_bytes(content)
    port = free_port()
    server = f"; client_max_body_size 0; location / {{ proxy_pass http://127.0.0.1:{service.port}; }}"
    with nginx(short_tmp / f"nginx-{port}", server, port=port):
        async with relaying(port) as relay:
            async with cutting_every(3_000_000, relay):
                assert await run("a.wav", url=relay.url, retries=3) == 0
            assert relay.sent < 15_000_000
    assert await stored(service) == {"a": sha256(content)}


# At a terminal


async def test_ctrl_c_stops_at_once_and_the_same_command_goes_on(relay: Relay, service: Service) -> None:
    content = noise(3_000_000)
    Path("a.wav").write_bytes(content)
    relay.rate = 1_000_000
    process = await start("a.wav", "--url", relay.url)
    await until(lambda: relay.sent > 1_000_000)
    process.send_signal(signal.SIGINT)
    status, out, err = await ended(process)
    assert relay.sent < len(content)
    assert (status, out) == (130, "")
    assert err == (
        "\nmosic: interrupted. Added 0, already there 0, failed 0. The same command resumes from here.\n"
    )
    relay.rate = None
    before = relay.sent
    assert await run("a.wav", url=relay.url) == 0
    assert relay.sent - before < 2_500_000
    assert await stored(service) == {"a": sha256(content)}


@pytest.mark.parametrize("columns", [100, pytest.param(20, marks=pytest.mark.slow)])
async def test_bars_on_a_terminal(columns: int, relay: Relay, service: Service) -> None:
    relay.rate = 2_000_000
    for seed in range(3):
        Path(f"[bold]{seed}.wav").write_bytes(noise(700_000, seed=seed))
    Path("text.mp3").write_text("no sound at all")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *MOSIC,
        *(".", "--url", relay.url),
        env={**os.environ, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    screen = await asyncio.wait_for(asyncio.to_thread(read_all, ours), 60)
    os.close(ours)
    assert await process.wait() == 1
    for seed in range(3):
        assert f"[bold]{seed}.wav" in screen
    assert "━" in screen
    assert "Added 3 (2.1 MB), already there 0, failed 1." in screen
    assert "text.mp3: This file is text. (unsupported-media)" in screen
    # The cursor was hidden and is back.
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")
    if columns == 100:
        assert "checking" in screen
        assert "MB/s 0:00:0" in screen
        assert re.search("[1-3]/4 files", screen)
    assert len(await stored(service)) == 3


def read_all(terminal: int) -> str:
    seen = b""
    # Linux says EIO when the other end is closed.
    with suppress(OSError):
        while chunk := os.read(terminal, 65536):
            seen += chunk
    return seen.decode()
