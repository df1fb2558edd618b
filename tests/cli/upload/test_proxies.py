"""Behind proxies, and at a terminal."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.relays import Relay, cutting_every, relaying
from tests.support.service import Service
from tests.support.uploading import MOSIC, ended, noise, run, sha256, start, stored
from tests.support.waiting import until, wait_until

needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")


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

    def listens() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    process = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        wait_until(listens)
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
