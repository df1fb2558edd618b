"""Streaming: ranges, whole files, counted plays, patient listeners; against nginx and a plain service."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import aiohttp

from benchmarks import servers
from benchmarks.listeners import Heard, kernel_buffers, listen
from benchmarks.report import machine, paired_ratio, table
from benchmarks.servers import KEY, Server
from benchmarks.uploads import make_wav
from benchmarks.wrk import Measured, load

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "3"))
MANY = 1000
SONG, SMALL, PART = 5_000_000, 81_000, 1_000_000
LISTENERS, LISTENING_SECONDS = 2000, 30


@dataclass(frozen=True)
class Clips:
    """The same files at every server, as the paths to ask for."""

    mosic: list[str]
    files: list[str]
    """At nginx."""

    plain: list[str]
    """FileResponse alone."""

    counted: list[str]
    """The plain service's counted streams."""


async def _upload(ours: Server, theirs: Server, names: Sequence[str], root: Path) -> Clips:
    clips = Clips([], [], [], [])
    async with aiohttp.ClientSession() as client:
        for name in names:
            content = (root / name).read_bytes()
            headers = {"X-API-Key": KEY, "Content-Type": "audio/wav"}
            async with client.put(f"{ours.url}/play/upload/{name}", data=content, headers=headers) as answer:
                answer.raise_for_status()
                clips.mosic.append(f"/play/{(await answer.json())['id']}/stream")
            form = aiohttp.FormData()
            form.add_field("file", content, filename=name)
            async with client.post(f"{theirs.url}/upload", data=form) as answer:
                answer.raise_for_status()
                song = json.loads(await answer.text())["id"]
            clips.files.append(f"/{name}")
            clips.plain.append(f"/files/{song}")
            clips.counted.append(f"/songs/{song}/stream")
    return clips


def add_clips(ours: Server, theirs: Server, root: Path, kind: str, size: int, count: int) -> Clips:
    names = [f"{kind}-{number}.wav" for number in range(count)]
    for name in names:
        make_wav(root / name, size)
    return asyncio.run(_upload(ours, theirs, names, root))


Way = Callable[[], Measured]


def measure(ways: dict[str, Way], rounds: int) -> dict[str, list[Measured]]:
    """Each way in turn, round after round, so that a busy moment of the machine hits them all."""
    taken: dict[str, list[Measured]] = defaultdict(list)
    for _ in range(rounds):
        for name, way in ways.items():
            taken[name].append(way())
    return taken


def compared(title: str, ways: dict[str, Way], *, by_size: bool = False) -> str:
    """A table; the first way is ours, and the ratios are its own to the others'."""
    taken = measure(ways, ROUNDS)

    def figures(name: str) -> list[float]:
        return [one.size / 1e6 if by_size else one.answers for one in taken[name]]

    ours = figures(next(iter(ways)))
    rows = [
        [
            name,
            f"{median(figures(name)):,.0f}",
            f"{paired_ratio(ours, figures(name)):.2f}",
            f"{1e6 * median(one.cpu for one in taken[name]):,.0f}",
            f"{1e3 * median(one.late for one in taken[name]):.1f}",
        ]
        for name in ways
    ]
    unit = "MB/s" if by_size else "answers/s"
    head = ("server", unit, "Mosic is × as fast", "processor time an answer, µs", "99 of 100 within, ms")
    return table(f"{title}, median of {ROUNDS}", head, rows)


def forget_pages(folder: Path) -> None:
    """Out of the page cache with every file below."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def cold(server: Server, folder: Path, paths: Sequence[str], size: int) -> Way:
    def way() -> Measured:
        forget_pages(folder)
        return load(server, paths, SECONDS, range_of=size)

    return way


class Sampled(threading.Thread):
    """The most of two figures while the block runs, over what they were before."""

    def __init__(self, *figures: Callable[[], int]) -> None:
        super().__init__(daemon=True)
        self._figures = figures
        self._idle = [figure() for figure in figures]
        self._end = threading.Event()
        self.most = [0 for _ in figures]

    def run(self) -> None:
        while not self._end.wait(1):
            for at, figure in enumerate(self._figures):
                self.most[at] = max(self.most[at], figure() - self._idle[at])

    def __enter__(self) -> Sampled:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()


def patient(peers: dict[str, tuple[Server, str]]) -> str:
    rows = []
    for name, (server, path) in peers.items():
        before, began = server.cpu_seconds(), time.perf_counter()
        with Sampled(server.resident, kernel_buffers) as memory:
            heard: Heard = listen(server.url, path, LISTENERS, LISTENING_SECONDS)
        busy = (server.cpu_seconds() - before) / (time.perf_counter() - began)
        each = [most / 1024 / LISTENERS for most in memory.most]
        rows.append(
            [
                *(name, f"{heard.listeners}", f"{heard.failed}", f"{heard.stalls}"),
                *(f"{1e3 * heard.longest:.0f}", f"{each[0]:.1f}", f"{each[1]:.1f}", f"{100 * busy:.0f} %"),
            ]
        )
    head = ("server", "listeners", "failed", "stalls over 0.1 s", "longest wait, ms")
    sizes = ("resident KiB a listener", "kernel KiB a listener (both ends)", "of one core")
    return table(f"Listeners at 128 kbit/s for {LISTENING_SECONDS} s", (*head, *sizes), rows)


@contextmanager
def _running(top: Path) -> Iterator[tuple[Server, Server, Server, Path]]:
    files = top / "files"
    files.mkdir()
    with ExitStack() as stack:
        ours = stack.enter_context(servers.mosic(top / "mosic"))
        theirs = stack.enter_context(servers.baseline(top / "plain"))
        nginx = stack.enter_context(servers.nginx(top / "nginx", files))
        yield ours, theirs, nginx, files


def _one_worker(top: Path) -> Clips:
    with _running(top) as (ours, theirs, nginx, files):
        song = add_clips(ours, theirs, files, "song", SONG, 1)
        small = add_clips(ours, theirs, files, "small", SMALL, MANY)
        parts = add_clips(ours, theirs, files, "part", PART, MANY)

        def three(clips: Clips, size: int | None) -> dict[str, Way]:
            return {
                "Mosic": lambda: load(ours, clips.mosic, SECONDS, range_of=size),
                "nginx": lambda: load(nginx, clips.files, SECONDS, range_of=size),
                "FileResponse": lambda: load(theirs, clips.plain, SECONDS, range_of=size),
            }

        def plays(paths: Clips) -> dict[str, Way]:
            return {
                "Mosic": lambda: load(ours, paths.mosic, SECONDS),
                "plain service": lambda: load(theirs, paths.counted, SECONDS),
                "FileResponse, uncounted": lambda: load(theirs, paths.plain, SECONDS),
                "nginx, uncounted": lambda: load(nginx, paths.files, SECONDS),
            }

        one_small = Clips(small.mosic[:1], small.files[:1], small.plain[:1], small.counted[:1])
        print(compared("64-KiB ranges of one clip of 5 MB", three(song, SONG)), flush=True)
        print(compared(f"64-KiB ranges of {MANY:,} clips of 1 MB", three(parts, PART)), flush=True)
        print(compared("Whole clips of 5 MB", three(song, None), by_size=True), flush=True)
        print(compared("Counted plays of one clip of 81 KB", plays(one_small)), flush=True)
        print(compared(f"Counted plays of {MANY:,} clips of 81 KB", plays(small)), flush=True)
        colds = {
            "Mosic": cold(ours, ours.folder, parts.mosic, PART),
            "nginx": cold(nginx, files, parts.files, PART),
            "FileResponse": cold(theirs, theirs.folder, parts.plain, PART),
        }
        print(compared(f"64-KiB ranges of {MANY:,} clips of 1 MB, none in memory", colds), flush=True)
        peers = {"Mosic": (ours, song.mosic[0]), "nginx": (nginx, song.files[0])}
        print(patient(peers | {"FileResponse": (theirs, song.plain[0])}), flush=True)
        return song


def _two_workers(top: Path, song: Clips) -> None:
    with (
        servers.mosic(top / "mosic", MOSIC_WORKERS="2") as ours,
        servers.nginx(top / "nginx", top / "files", workers=2) as nginx,
    ):
        ways: dict[str, Way] = {
            "Mosic": lambda: load(ours, song.mosic, SECONDS, range_of=SONG),
            "nginx": lambda: load(nginx, song.files, SECONDS, range_of=SONG),
        }
        print(compared("64-KiB ranges of one clip of 5 MB, two workers", ways), flush=True)


def run() -> None:
    """Print what was measured. Needs wrk, nginx and 4 GB of disk below the temporary folder."""
    top = Path(tempfile.mkdtemp(prefix="mosic-bench-"))
    top.chmod(0o755)
    print(f"# Streams\n\n{machine()}; the load, by wrk with one thread, is on it too")
    try:
        _two_workers(top, _one_worker(top))
    finally:
        shutil.rmtree(top, ignore_errors=True)
