"""A start that waits for whoever migrates the database, and one that need not."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support.databases import shown
from tests.support.house import House

HOLD = """
import asyncio, sys, asyncpg
async def hold():
    connection = await asyncpg.connect(sys.argv[1])
    await connection.execute("SELECT pg_advisory_lock(x'6D6F736963'::bigint)")
    print("held", flush=True)
    await asyncio.sleep(600)
asyncio.run(hold())
"""


@contextmanager
def migrating(database_url: URL) -> Iterator[None]:
    """Another process has the lock, as one that migrates has."""
    command = [sys.executable, "-c", HOLD, shown(database_url)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        yield
    finally:
        process.kill()
        process.communicate()


def house_of(folder: Path, database_url: URL) -> House:
    folder = folder / f"waits-{os.urandom(4).hex()}"
    folder.mkdir()
    return House(folder, MOSIC_DATABASE_URL_OVERRIDE=shown(database_url))


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
async def test_a_start_that_waits_says_so_and_hears_sigterm(
    workers: str, short_tmp: Path, empty_database_url: URL
) -> None:
    house = house_of(short_tmp, empty_database_url)
    try:
        with migrating(empty_database_url):
            service = house.start("serve", "--workers", workers)
            async with asyncio.timeout(180):
                while "another process is migrating this database" not in house.log():
                    assert service.poll() is None, house.log()
                    await asyncio.sleep(0.05)
            service.send_signal(signal.SIGTERM)
            # By itself it would wait for as long as the other does.
            assert await asyncio.to_thread(service.wait, 120) == 0
        assert "stopped before the service had started" in house.log()
        assert "Traceback" not in house.log()
        assert "listens on" not in house.log()
        engine = create_async_engine(empty_database_url)
        async with engine.connect() as connection:
            assert await connection.scalar(sa.text("SELECT to_regclass('clips')")) is None
        await engine.dispose()
    finally:
        house.end()


async def test_a_start_with_nothing_to_migrate_waits_for_nobody(
    short_tmp: Path, own_database_url: URL
) -> None:
    house = house_of(short_tmp, own_database_url)
    try:
        with migrating(own_database_url):
            await house.url(house.start("serve"))
        assert "another process" not in house.log()
    finally:
        house.end()
