"""Uploads: 200 MB and 2 GB by raw body, form and tus, against `cp` + `sync` and the plain service."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import struct
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median

import aiohttp

from benchmarks import servers
from benchmarks.report import machine, paired_ratio, table
from benchmarks.servers import KEY, Server

LARGE = 200 * 10**6
HUGE = 2 * 10**9
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SMALL_FILES, SMALL_SIZE, AT_ONCE = 200, 80_000, 16


def make_wav(path: Path, size: int) -> None:
    """A real WAV of exactly that size, of noise."""
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        size - 8,
        b"WAVE",
        b"fmt ",
        16,
        1,
        2,
        44100,
        176400,
        4,
        16,
        b"data",
        size - 44,
    )
    block = os.urandom(2**20)
    with path.open("wb") as out:
        out.write(header)
        left = size - len(header)
        while left:
            left -= out.write(block[:left])


def touch_up(path: Path) -> None:
    """Other bytes of the same size, so that no upload is a duplicate."""
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(os.urandom(16))


def curl(*arguments: str | Path) -> tuple[float, str, dict[str, str]]:
    """Seconds on the wire, the body, the header of the answer."""
    done = subprocess.run(
        ["curl", "-sS", "-D", "-", "-w", "\n%{time_total}", "-H", "Expect:", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    head, _, rest = done.stdout.replace("\r\n", "\n").partition("\n\n")
    body, _, seconds = rest.rpartition("\n")
    status = head.split()[1]
    if not status.startswith("2"):
        raise RuntimeError(f"{status}: {body}")
    fields = dict(line.split(": ", 1) for line in head.splitlines()[1:])
    return float(seconds), body, {name.lower(): value for name, value in fields.items()}


def copy_and_sync(path: Path, folder: Path) -> float:
    target = folder / "copy"
    began = time.perf_counter()
    subprocess.run(["cp", str(path), str(target)], check=True)
    subprocess.run(["sync", str(target)], check=True)
    seconds = time.perf_counter() - began
    target.unlink()
    return seconds


def remove(server: Server, clip_id: str) -> None:
    curl("-X", "DELETE", "-H", f"X-API-Key: {KEY}", f"{server.url}/play/{clip_id}")


def raw(server: Server, path: Path) -> float:
    seconds, body, _ = curl("-T", path, "-H", f"X-API-Key: {KEY}", f"{server.url}/play/upload/{path.name}")
    remove(server, json.loads(body)["id"])
    return seconds


def form(server: Server, path: Path) -> float:
    seconds, body, _ = curl("-F", f"file=@{path}", "-H", f"X-API-Key: {KEY}", f"{server.url}/play/upload")
    remove(server, json.loads(body)["id"])
    return seconds


def tus(server: Server, path: Path) -> float:
    shared = ("-H", f"X-API-Key: {KEY}", "-H", "Tus-Resumable: 1.0.0")
    created, _, fields = curl(
        "-X", "POST", *shared, "-H", f"Upload-Length: {path.stat().st_size}", f"{server.url}/play/uploads"
    )
    sent, _, done = curl(
        *("-X", "PATCH", "-T", path, *shared, "-H", "Upload-Offset: 0"),
        *("-H", "Content-Type: application/offset+octet-stream", fields["location"]),
    )
    remove(server, done["content-location"].rpartition("/")[2])
    return created + sent


def plain(server: Server, path: Path) -> float:
    seconds, body, _ = curl("-F", f"file=@{path}", f"{server.url}/upload")
    (server.folder / "songs" / f"{json.loads(body)['id']}.audio").unlink()
    return seconds


class MemoryWatch(threading.Thread):
    """The most that the server held over what it held at the start."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._end = threading.Event()
        self._idle = server.resident()
        self.over_idle = 0

    def run(self) -> None:
        while not self._end.wait(0.05):
            self.over_idle = max(self.over_idle, self._server.resident() - self._idle)

    def __enter__(self) -> MemoryWatch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()


def large_files(ours: Server, theirs: Server, path: Path, rounds: int) -> str:
    ways: dict[str, Callable[[], float]] = {
        "cp + sync": lambda: copy_and_sync(path, ours.folder),
        "mosic, raw body": lambda: raw(ours, path),
        "mosic, form": lambda: form(ours, path),
        "mosic, tus": lambda: tus(ours, path),
        "plain service, form": lambda: plain(theirs, path),
    }
    taken: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, way in ways.items():
            touch_up(path)
            # What the last one left to be written must not be paid for by the next.
            subprocess.run(["sync"], check=True)
            taken[name].append(way())
    rows = [
        [
            name,
            f"{median(seconds):.2f}",
            f"{paired_ratio(seconds, taken['cp + sync']):.2f}",
            f"{paired_ratio(taken['plain service, form'], seconds):.2f}",
        ]
        for name, seconds in taken.items()
    ]
    size = path.stat().st_size // 10**6
    head = ("way", "seconds", "× cp + sync", "times as fast as the plain service")
    return table(f"One file of {size} MB, median of {rounds}", head, rows)


def memory(ours: Server, path: Path) -> str:
    rows = []
    for name, way in (("raw body", raw), ("form", form), ("tus", tus)):
        touch_up(path)
        with MemoryWatch(ours) as watch:
            way(ours, path)
        rows.append([name, f"{watch.over_idle / 2**20:.1f}"])
    size = path.stat().st_size // 10**6
    return table(f"Memory over idle while {size} MB arrive, MiB", ("way", "most"), rows)


async def _small(url: str, headers: dict[str, str], content: bytes) -> float:
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(client: aiohttp.ClientSession) -> None:
        body = content[:1000] + os.urandom(16) + content[1016:]
        data = aiohttp.FormData()
        data.add_field("file", body, filename="small.wav", content_type="audio/wav")
        async with limit, client.post(url, data=data, headers=headers) as answer:
            if answer.status != 201:
                raise RuntimeError(await answer.text())

    async with aiohttp.ClientSession() as client:
        began = time.perf_counter()
        await asyncio.gather(*(one(client) for _ in range(SMALL_FILES)))
        return time.perf_counter() - began


def small_files(ours: Server, theirs: Server, path: Path, rounds: int) -> str:
    content = path.read_bytes()
    mine, other = [], []
    for _ in range(rounds):
        mine.append(asyncio.run(_small(f"{ours.url}/play/upload", {"X-API-Key": KEY}, content)))
        other.append(asyncio.run(_small(f"{theirs.url}/upload", {}, content)))
    rows = [
        ["mosic, form", f"{SMALL_FILES / median(mine):.0f}", f"{paired_ratio(other, mine):.2f}"],
        ["plain service, form", f"{SMALL_FILES / median(other):.0f}", "1.00"],
    ]
    title = f"{SMALL_FILES} files of {SMALL_SIZE // 1000} kB, {AT_ONCE} at a time, median of {rounds}"
    return table(title, ("way", "files a second", "times as fast as the plain service"), rows)


def run() -> None:
    """Print what was measured. Needs curl and 7 GB of disk below the temporary folder."""
    top = Path(tempfile.mkdtemp(prefix="mosic-bench-"))
    top.chmod(0o755)
    print(f"# Uploads\n\n{machine()}")
    try:
        with servers.mosic(top / "mosic") as ours, servers.baseline(top / "plain") as theirs:
            for size, name in ((SMALL_SIZE, "small.wav"), (LARGE, "large.wav"), (HUGE, "huge.wav")):
                make_wav(top / name, size)
            print(small_files(ours, theirs, top / "small.wav", ROUNDS), flush=True)
            print(large_files(ours, theirs, top / "large.wav", ROUNDS), flush=True)
            print(memory(ours, top / "huge.wav"), flush=True)
            print(large_files(ours, theirs, top / "huge.wav", max(1, ROUNDS // 3)), flush=True)
    finally:
        shutil.rmtree(top, ignore_errors=True)
