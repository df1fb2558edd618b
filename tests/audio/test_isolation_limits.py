"""What a probing process may do, and what the pool does when one hangs, swells, is killed or left alone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mosic.audio import process
from mosic.errors import UnreadableMedia
from tests.audio.pools import is_alive, needs_proc, pool, workers_of
from tests.support.waiting import until


@needs_proc
async def test_a_file_that_takes_too_long(song: Path, endless: Path) -> None:
    outcomes: list[str] = []
    async with pool(seconds=2, on_outcome=lambda outcome, _: outcomes.append(outcome)) as probes:
        before = workers_of(os.getpid())
        began = time.monotonic()
        with pytest.raises(UnreadableMedia, match="too long"):
            await probes.probe(endless)
        assert time.monotonic() - began >= 2
        assert (await probes.probe(song)).title == "Song"
        assert not any(is_alive(pid) for pid in before)
        assert len(workers_of(os.getpid())) == 1
    assert outcomes == ["timeout", "ok"]


@needs_proc
async def test_a_process_that_is_stopped(song: Path) -> None:
    async with pool(seconds=0.5) as probes:
        (pid,) = workers_of(os.getpid())
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(UnreadableMedia, match="too long"):
            await probes.probe(song)
        assert (await probes.probe(song)).title == "Song"
        assert not is_alive(pid)


@needs_proc
async def test_a_file_that_eats_memory(song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DSDIFF whose frame information has a gigabyte (sparse on disk); mutagen reads it at once if it may."""
    may = "from mosic.audio import source; source._LARGEST_READ = 1 << 40"
    monkeypatch.setattr(process, "_BOOT", f"import sys; sys.path[:] = sys.argv[3:]; {may}\n{process._BOOT}")

    def chunk(name: bytes, data: bytes, size: int | None = None) -> bytes:
        return name + (len(data) if size is None else size).to_bytes(8, "big") + data

    def dsdiff(size: int) -> bytes:
        properties = b"SND " + chunk(b"FS  ", (2822400).to_bytes(4, "big")) + chunk(b"CHNL", b"\0\2")
        properties += chunk(b"CMPR", b"DST \x03DST")
        inner = (
            b"DSD "
            + chunk(b"PROP", properties)
            + chunk(b"DST ", chunk(b"FRTE", b"\0\0\0\x96\0\x4b", size), size + 12)
        )
        return chunk(b"FRM8", inner, len(inner) + size)

    path = tmp_path / "a.dff"
    async with pool(memory_mb=256) as probes:
        path.write_bytes(dsdiff(6))
        assert (await probes.probe(path)).codec == "dst"
        path.write_bytes(dsdiff(1 << 30))
        os.truncate(path, 2 << 30)
        (pid,) = workers_of(os.getpid())
        with pytest.raises(UnreadableMedia):
            await probes.probe(path)
        if is_alive(pid):
            peak = next(
                line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmPeak" in line
            )
            assert int(peak.split()[1]) <= 256 * 1024
        assert (await probes.probe(song)).title == "Song"


@needs_proc
async def test_a_large_service_does_not_wear_out_its_processes(song: Path) -> None:
    """On Linux a process inherits the peak of the one it was started by, and must not take it for its own."""
    ballast = bytearray(os.urandom(1) * (200 << 20))
    async with pool(memory_mb=128) as probes:
        pids = workers_of(os.getpid())
        for _ in range(3):
            await probes.probe(song)
        assert workers_of(os.getpid()) == pids
    assert ballast


@needs_proc
async def test_a_process_killed_midway(song: Path, endless: Path) -> None:
    outcomes: list[str] = []
    async with pool(on_outcome=lambda outcome, _: outcomes.append(outcome)) as probes:
        (pid,) = workers_of(os.getpid())
        call = asyncio.create_task(probes.probe(endless))
        await asyncio.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(UnreadableMedia):
            await call
        assert (await probes.probe(song)).title == "Song"
    assert outcomes == ["crash", "ok"]


@needs_proc
async def test_a_process_killed_while_it_waits(song: Path) -> None:
    """No file is to blame, so none is refused."""
    async with pool(workers=2) as probes:
        for _ in range(5):
            for pid in workers_of(os.getpid()):
                os.kill(pid, signal.SIGKILL)
            found = await asyncio.gather(*(probes.probe(song) for _ in range(6)))
            assert [info.title for info in found] == ["Song"] * 6


@needs_proc
async def test_a_process_knows_and_may_do_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSIC_API_KEY", "secret")
    with open(os.devnull) as inherited:
        os.set_inheritable(inherited.fileno(), True)
        async with pool(memory_mb=300):
            (pid,) = workers_of(os.getpid())
            folder = Path(f"/proc/{pid}")
            assert b"secret" not in (folder / "environ").read_bytes()
            await until(lambda: os.readlink(folder / "fd/1") == os.devnull)
            places = {os.readlink(descriptor) for descriptor in (folder / "fd").iterdir()}
            # Some versions of libffi hold their own file open.
            places = {place for place in places if "/libffi.so" not in place}
            # What the process takes of memory, to be read when it can open nothing any more.
            places.discard(f"/proc/{pid}/statm")
            assert {place.partition(":")[0] for place in places} <= {"pipe", "socket", os.devnull}
            limits = {
                line[:26].strip(): line[26:].split()[:2]
                for line in (folder / "limits").read_text().splitlines()[1:]
            }
            assert limits["Max address space"] == [str(300 << 20)] * 2
            assert limits["Max file size"] == ["0", "0"]
            assert limits["Max core file size"] == ["0", "0"]
            assert limits["Max processes"] == ["0", "0"]
            assert "NoNewPrivs:\t1" in (folder / "status").read_text()


@needs_proc
async def test_signals_for_the_service_do_not_disturb(song: Path) -> None:
    """Ctrl-C goes to the group of the terminal, a manager's SIGTERM to every process of the service."""
    async with pool() as probes:
        (pid,) = workers_of(os.getpid())
        assert os.getsid(pid) != os.getsid(0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
            assert (await probes.probe(song)).title == "Song"
        assert workers_of(os.getpid()) == [pid]


PARENT = """
import asyncio, sys
from pathlib import Path
from mosic.audio import process
from mosic.audio.isolation import ProbePool
from mosic.background import Background

process._BOOT = sys.argv[2]

async def main():
    probes = ProbePool(2, 1, 512, background=Background())
    await probes.start()
    print("ready", flush=True)
    await asyncio.gather(probes.probe(Path(sys.argv[1])), asyncio.sleep(60))

asyncio.run(main())
"""


@needs_proc
async def test_ends_when_its_parent_is_killed(endless: Path) -> None:
    """One of the two has nothing to do, the other will never come back from its file."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, endless, process._BOOT], stdout=subprocess.PIPE)
    assert parent.stdout
    with parent:
        assert parent.stdout.readline() == b"ready\n"
        await asyncio.sleep(0.2)
        pids = workers_of(parent.pid)
        assert len(pids) == 2
        parent.kill()
    await until(lambda: not any(is_alive(pid) for pid in pids))
