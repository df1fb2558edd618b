"""What is killed, when, and what the next one finds."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mosic.postgres import open_embedded
from tests.postgres.conftest import OpenShare, StartUser, server_pid
from tests.postgres.test_embedded import ask
from tests.support.processes import is_running, wait_until_gone

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


def children_of(pid: int) -> list[int]:
    return [
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and parent_of(folder) == pid
    ]


def parent_of(folder: Path) -> int | None:
    with suppress(OSError):
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return None


def as_owner(data_dir: Path) -> dict[str, Any]:
    owner = (data_dir / "postgres").stat()
    return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        # A server's children end by themselves when it does.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def descendants_of(pid: int) -> list[int]:
    return [found for child in children_of(pid) for found in (child, *descendants_of(child))]


async def works_and_stops(data_dir: Path) -> None:
    share = await open_embedded(data_dir)
    try:
        assert await ask(share.url, "SELECT 1") == 1
        pid = server_pid(data_dir)
        assert pid
    finally:
        await share.close()
    wait_until_gone(pid)


async def test_a_server_whose_users_were_killed_is_adopted(
    data_dir: Path, start_user: StartUser, open_share: OpenShare
) -> None:
    first, second = await start_user(data_dir), await start_user(data_dir)
    await first.opened()
    await second.opened()
    pid = server_pid(data_dir)
    assert pid
    await first.kill()
    await second.kill()
    assert is_running(pid)

    share = await open_share(data_dir)
    assert server_pid(data_dir) == pid
    await share.close()
    wait_until_gone(pid)


async def test_a_killed_user_does_not_count(
    data_dir: Path, start_user: StartUser, open_share: OpenShare
) -> None:
    killed = await (await start_user(data_dir)).opened()
    share = await open_share(data_dir)
    pid = server_pid(data_dir)
    assert pid
    await killed.kill()
    await share.close()
    wait_until_gone(pid)


@needs_proc
@pytest.mark.parametrize(
    ("all_processes", "user_too"),
    [(False, False), (True, False), (True, True)],
    ids=["first process", "all processes", "all processes and the user"],
)
async def test_a_killed_server_is_started_again_with_all_that_was_committed(
    data_dir: Path, start_user: StartUser, open_share: OpenShare, *, all_processes: bool, user_too: bool
) -> None:
    user = await (await start_user(data_dir)).opened()
    share = await open_share(data_dir)
    await ask(share.url, "DROP TABLE IF EXISTS plays", "CREATE TABLE plays AS SELECT 41 AS count")
    await ask(share.url, "UPDATE plays SET count = count + 1")
    pid = server_pid(data_dir)
    assert pid
    kill_all([pid, *(children_of(pid) if all_processes else [])])
    if user_too:
        await user.kill()
        await share.close()
    wait_until_gone(pid)

    again = await open_share(data_dir)
    assert server_pid(data_dir) not in {None, pid}
    assert await ask(again.url, "SELECT count FROM plays") == 42
    if not user_too:
        await user.leave()
        await share.close()
    await again.close()
    assert server_pid(data_dir) is None


@pytest.fixture
def bystander(data_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with any of this, though it runs as the same account."""
    process = subprocess.Popen(["sleep", "1000"], **as_owner(data_dir))
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def zombie(data_dir: Path) -> Iterator[int]:
    process = subprocess.Popen(["true"], **as_owner(data_dir))
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield process.pid
    process.wait()


@pytest.mark.parametrize("left", ["own pid", "bystander", "zombie", "pid 1", "empty", "rubbish"])
async def test_a_stale_pid_file_is_nobody_s_pid(
    data_dir: Path,
    open_share: OpenShare,
    bystander: subprocess.Popen[bytes],
    zombie: int,
    left: str,
) -> None:
    share = await open_share(data_dir)
    pid = server_pid(data_dir)
    assert pid
    os.kill(pid, signal.SIGKILL)
    await share.close()
    wait_until_gone(pid)
    pids = {"own pid": os.getpid(), "bystander": bystander.pid, "zombie": zombie, "pid 1": 1}
    for file in (
        data_dir / "postgres/cluster/postmaster.pid",
        data_dir / "postgres/socket/.s.PGSQL.5432.lock",
    ):
        rest = file.read_text().split("\n", 1)[1]
        kinds = {"empty": "", "rubbish": "\0\0\0\0"}
        file.write_text(kinds.get(left, f"{pids.get(left)}\n{rest}"))

    await works_and_stops(data_dir)
    assert bystander.poll() is None


@needs_proc
@pytest.mark.parametrize("initdb_too", [False, True], ids=["user", "user and initdb"])
async def test_killed_during_the_first_start(place: Path, start_user: StartUser, *, initdb_too: bool) -> None:
    user = await start_user(place / "data")
    await killed_after(user.pid, place / "data", 0.2, and_all_below=initdb_too)
    await works_and_stops(place / "data")
    assert (place / "data/postgres/cluster/PG_VERSION").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_killed_at_any_moment_of_the_first_start(place: Path, start_user: StartUser) -> None:
    for step in range(10):
        data_dir = place / str(step)
        user = await start_user(data_dir)
        await killed_after(user.pid, data_dir, step * 0.13, and_all_below=step % 2 == 1)
        await works_and_stops(data_dir)
        # The initdb that lost its parent may go on for a while; what it leaves goes with a later start.
        for _ in range(10):
            if not list((data_dir / "postgres").glob("initdb-*")):
                break
            await works_and_stops(data_dir)
        else:
            pytest.fail("an unfinished initdb was left")


async def killed_after(pid: int, data_dir: Path, seconds: float, *, and_all_below: bool) -> None:
    """Kill a process so long after it began to work on the folder (importing takes its time, too)."""
    deadline = time.monotonic() + 60
    while not (data_dir / "postgres").exists():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)
    await asyncio.sleep(seconds)
    kill_all([pid, *(descendants_of(pid) if and_all_below else [])])


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_killed_at_any_moment_of_a_start_or_a_stop(data_dir: Path, start_user: StartUser) -> None:
    for step in range(20):
        user = await start_user(data_dir)
        if step % 2:
            await user.opened()
            os.kill(user.pid, signal.SIGINT)
            await asyncio.sleep(step * 0.01)
        else:
            await asyncio.sleep(0.3 + step * 0.02)
        await user.kill()
        await works_and_stops(data_dir)


@needs_proc
async def test_a_folder_moved_under_a_server_that_lost_its_users(
    data_dir: Path, start_user: StartUser
) -> None:
    user = await (await start_user(data_dir)).opened()
    pid = server_pid(data_dir)
    assert pid
    await user.kill()
    moved = data_dir.with_name("moved")
    data_dir.rename(moved)
    try:
        await works_and_stops(moved)
        wait_until_gone(pid)
    finally:
        moved.rename(data_dir)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_server_is_killed_while_others_come_and_go(
    data_dir: Path, start_user: StartUser, open_share: OpenShare
) -> None:
    share = await open_share(data_dir)
    await ask(share.url, "DROP TABLE IF EXISTS ticks", "CREATE TABLE ticks (at timestamp DEFAULT now())")
    for n in range(10):
        pid = server_pid(data_dir)
        assert pid
        os.kill(pid, signal.SIGKILL)
        others = await asyncio.gather(*(open_share(data_dir) for _ in range(4)))
        await ask(others[0].url, "INSERT INTO ticks DEFAULT VALUES")
        await asyncio.gather(*(other.close() for other in others))
        assert await ask(share.url, "SELECT count(*) FROM ticks") == n + 1
    await share.close()
    assert server_pid(data_dir) is None
