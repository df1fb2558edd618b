"""Nobody reads the log: the service goes on, ends when it is told to, and says what it dropped."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from mosic.logstream import LogStream
from tests.support.house import KEY, MOSIC, House

Pair = tuple[int, int]


def pipe() -> Pair:
    return os.pipe()


def sockets() -> Pair:
    one, other = socket.socketpair()
    return one.detach(), other.detach()


def terminal() -> Pair:
    return pty.openpty()


def notice(lines: int) -> str:
    return f"dropped {lines}\n"


def read_all(descriptor: int, until: Callable[[bytes], bool]) -> bytes:
    found = b""
    while not until(found):
        assert select.select([descriptor], [], [], 30)[0], found[-200:]
        found += os.read(descriptor, 65536)
    return found


def told(found: bytes) -> list[int]:
    return [int(lines) for lines in re.findall(rb"^dropped (\d+)\r?\n", found, re.M)]


@pytest.mark.parametrize("make", [pipe, sockets, terminal])
def test_a_reader_that_stalls_is_not_waited_for(make: Callable[[], Pair]) -> None:
    reading, writing = make()
    try:
        dropped: list[int] = []
        stream = LogStream(writing, notice, most_bytes=4096)
        stream.on_dropped = dropped.append
        lines = 20_000 if make is not terminal else 2_000
        for number in range(lines):
            stream.write(f"{number:06} {'x' * 90}\n")
        assert dropped
        found = read_all(reading, lambda found: sum(told(found)) == sum(dropped) and found.endswith(b"\n"))
        written = [line for line in found.decode().splitlines() if not line.startswith("dropped")]
        # In order, each whole, and what is missing is what was counted.
        assert written == sorted(set(written))
        assert {line[6:] for line in written} == {f" {'x' * 90}"}
        assert len(written) + sum(dropped) == lines
        stream.write("again\n")
        assert b"again" in read_all(reading, lambda found: b"again" in found)
        stream.close()
    finally:
        os.close(reading)
        os.close(writing)


def test_lines_larger_than_a_pipe_stay_whole() -> None:
    reading, writing = pipe()
    try:
        stream = LogStream(writing, notice)
        lines = ["a" * 300_000, "b" * 5000, "c"]
        writer = threading.Thread(target=lambda: [stream.write(f"{line}\n") for line in lines])
        writer.start()
        found = read_all(reading, lambda found: found.endswith(b"c\n"))
        writer.join()
        assert found.decode().splitlines() == lines
        stream.close()
    finally:
        os.close(reading)
        os.close(writing)


def test_what_cannot_be_written_fails_nothing(tmp_path: Path) -> None:
    reading, writing = pipe()
    dropped: list[int] = []
    stream = LogStream(writing, notice)
    stream.on_dropped = dropped.append
    os.close(reading)
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        stream.write("nobody\n")
        stream.close()
    finally:
        signal.signal(signal.SIGPIPE, before)
        os.close(writing)
    assert dropped == [1]


def test_a_file_gets_every_line(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        stream = LogStream(file.fileno(), notice)
        for number in range(1000):
            stream.write(f"{number} ä\n")
    assert (tmp_path / "log").read_text().splitlines() == [f"{number} ä" for number in range(1000)]


@pytest.mark.slow
async def test_the_service_goes_on_and_ends(short_tmp: Path) -> None:
    folder = short_tmp / f"log-{os.urandom(4).hex()}"
    folder.mkdir()
    house = House(folder)
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *MOSIC, "serve", cwd=folder, env=house._environment, stderr=writing, start_new_session=True
    )
    os.close(writing)
    try:
        said = b""
        while not (listening := re.search(rb"listens on (\S+)", said)):
            said += await asyncio.to_thread(os.read, reading, 65536)
        async with httpx.AsyncClient(base_url=listening[1].decode(), timeout=60) as http:
            for _ in range(100):
                await asyncio.gather(
                    *(http.get("/play/none", headers={"X-Request-ID": "x" * 128}) for _ in range(50))
                )
                metrics = (await http.get("/metrics", headers={"X-API-Key": KEY})).text
                if (found := re.search(r"^mosic_log_lines_dropped_total (\S+)", metrics, re.M)) and float(
                    found[1]
                ):
                    break
            else:
                pytest.fail("no line was dropped")
            assert (await http.get("/ready")).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0
        rest = os.read(reading, 1 << 20)
        lines = (said + rest).decode().splitlines()[:-1]
        assert [json.loads(line) for line in lines if line.startswith("{")]
    finally:
        os.close(reading)
        house.end()
        if process.returncode is None:
            process.kill()
            await process.wait()
