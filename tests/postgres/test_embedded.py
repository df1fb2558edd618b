"""Starting, sharing and stopping the embedded PostgreSQL when nothing goes wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from tests.postgres.conftest import OpenShare, StartUser, server_pid
from tests.support.processes import is_running, wait_until_gone


async def ask(url: URL, *statements: str) -> object:
    """Run statements in one transaction; the value that the last one gives."""
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            for statement in statements[:-1]:
                await connection.execute(sa.text(statement))
            result = await connection.execute(sa.text(statements[-1]))
            return result.scalar() if result.returns_rows else None
    finally:
        await engine.dispose()


async def test_first_start_makes_a_database_and_a_second_one_finds_it(
    place: Path, open_share: OpenShare
) -> None:
    data_dir = place / "there" / "data"
    for folder, mode in ((place / "there", 0o775), (data_dir, 0o751)):
        folder.mkdir()
        folder.chmod(mode)
    share = await open_share(data_dir)
    pid = server_pid(data_dir)
    assert pid
    assert share.data_dir == data_dir / "postgres" / "cluster"
    assert share.url.drivername == "postgresql+asyncpg"
    assert (share.url.database, share.url.password) == ("mosic", None)
    await ask(share.url, "CREATE TABLE kept (word text)", "INSERT INTO kept VALUES ('ÄØ')")
    await share.close()
    wait_until_gone(pid)

    share = await open_share(data_dir)
    assert await ask(share.url, "SELECT lower(word) FROM kept") == "äø"
    # Folders that were there keep their modes.
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o751
    assert stat.S_IMODE(data_dir.parent.stat().st_mode) == 0o775


async def test_only_the_owner_gets_in_and_only_through_the_socket(
    data_dir: Path, open_share: OpenShare
) -> None:
    share = await open_share(data_dir)
    assert await ask(share.url, "SHOW listen_addresses") == ""
    assert await ask(share.url, "SHOW fsync") == "on"
    folder = share.url.host
    assert folder
    for private in (Path(folder), share.data_dir, share.data_dir.parent):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert private.stat().st_uid != 0


async def test_it_can_do_what_the_catalogue_needs(data_dir: Path, open_share: OpenShare) -> None:
    share = await open_share(data_dir)
    assert await ask(share.url, "SHOW server_encoding") == "UTF8"
    await ask(share.url, "CREATE EXTENSION IF NOT EXISTS pg_trgm")
    assert await ask(share.url, "SELECT 'Motörhead' ILIKE '%TÖR%'") is True
    await ask(share.url, "COMMIT", "DROP DATABASE IF EXISTS another")
    await ask(share.url, "COMMIT", "CREATE DATABASE another")
    assert await ask(share.url_for("another"), "SELECT current_database()") == "another"


async def test_processes_share_one_server_and_the_last_one_out_stops_it(
    data_dir: Path, start_user: StartUser, open_share: OpenShare
) -> None:
    share = await open_share(data_dir)
    pid = server_pid(data_dir)
    assert pid
    other = await (await start_user(data_dir)).opened()
    assert server_pid(data_dir) == pid

    await share.close()
    assert is_running(pid)
    third = await (await start_user(data_dir)).opened()
    await other.leave()
    assert server_pid(data_dir) == pid
    await third.leave()
    wait_until_gone(pid)


async def test_one_process_may_hold_several_shares(data_dir: Path, open_share: OpenShare) -> None:
    first, second = await asyncio.gather(open_share(data_dir), open_share(data_dir))
    await first.close()
    await first.close()
    assert await ask(second.url, "SELECT 1") == 1
    pid = server_pid(data_dir)
    assert pid
    await asyncio.gather(second.close(), second.close())
    wait_until_gone(pid)


@pytest.mark.slow
async def test_of_four_that_come_at_once_one_starts_it(place: Path, start_user: StartUser) -> None:
    users = [await start_user(place / "data") for _ in range(4)]
    await asyncio.gather(*(user.opened() for user in users))
    pid = server_pid(place / "data")
    assert pid
    log = (place / "data/postgres/postgres.log").read_text()
    assert log.count("starting PostgreSQL") == 1
    await asyncio.gather(*(user.leave() for user in users))
    wait_until_gone(pid)
    assert not list((place / "data/postgres").glob("initdb-*"))


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_newcomers_never_meet_a_server_that_the_last_one_stops(
    data_dir: Path, start_user: StartUser, open_share: OpenShare
) -> None:
    async def come_and_go() -> None:
        for _ in range(30):
            share = await open_share(data_dir)
            assert await ask(share.url, "SELECT 1") == 1
            await share.close()

    await asyncio.gather(*(come_and_go() for _ in range(4)))
    assert server_pid(data_dir) is None


async def test_ctrl_c_in_the_terminal_does_not_reach_the_server_first(
    data_dir: Path, start_user: StartUser
) -> None:
    user = await (await start_user(data_dir, new_group=True, asks=True)).opened()
    pid = server_pid(data_dir)
    assert pid
    assert os.getpgid(pid) != user.pid
    os.killpg(user.pid, signal.SIGINT)
    # It says so only after a query that it makes on its way out.
    assert await user.says() == "closed"
    wait_until_gone(pid)


async def test_giving_up_in_the_middle_leaves_nothing_behind(place: Path, open_share: OpenShare) -> None:
    opening = asyncio.create_task(open_share(place / "data"))
    await asyncio.sleep(0.2)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert server_pid(place / "data") is None
    share = await open_share(place / "data")
    await share.close()


async def test_a_server_that_dies_is_started_again_when_asked_to(
    data_dir: Path, open_share: OpenShare
) -> None:
    share = await open_share(data_dir)
    keeping = asyncio.create_task(share.keep_running())
    try:
        pid = server_pid(data_dir)
        assert pid
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            while server_pid(data_dir) in {None, pid}:
                await asyncio.sleep(0.02)
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        await share.close()
    assert server_pid(data_dir) is None
