"""kill -9 at random moments: every work ends, and what it learns is written once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
import uuid_utils.compat

from mosic.core.runtime import Runtime
from mosic.core.works.asking import count
from tests.support.learning import learnt, make_table
from tests.support.stores import Open, insert_clips
from tests.support.waiting import until

_KILLS = 50
_CLIPS = 30
_AT_ONCE = 2
# What an upload makes besides.
_ALSO = (
    "INSERT INTO clip_plays (clip_id) SELECT id",
    "INSERT INTO works (clip_id, kind) SELECT id, 'word'",
)


class Services:
    """Processes that learn, until they are killed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.running: list[int] = []

    async def start(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(b"another\n")
        self.running.append(int(await self._process.stdout.readline()))

    async def kill(self, number: int) -> None:
        process_id = self.running.pop(number)
        os.kill(process_id, signal.SIGKILL)
        await until(lambda: not Path(f"/proc/{process_id}").exists())


@asynccontextmanager
async def services(rt: Runtime) -> AsyncIterator[Services]:
    url = rt.settings.database_url_override
    assert url
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.learning_process",
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "MOSIC_API_KEY": "k",
            "MOSIC_DATABASE_URL_OVERRIDE": url.get_secret_value(),
            "MOSIC_DATA_DIR": str(rt.settings.data_dir),
            "MOSIC_MEDIA_ROOT": str(rt.settings.media_root),
            "MOSIC_PROBE_WORKERS": "1",
            "MOSIC_SWEEP_SECONDS": "0",
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    found = Services(process)
    try:
        yield found
    finally:
        while found.running:
            await found.kill(0)
        process.kill()
        await process.wait()


async def add_clips(rt: Runtime) -> None:
    async with rt.begin() as connection:
        await insert_clips(connection, *(uuid_utils.compat.uuid7().hex for _ in range(_CLIPS)))
        for statement in _ALSO:
            await connection.execute(sa.text(f"{statement} FROM clips ON CONFLICT DO NOTHING"))


async def states(rt: Runtime) -> dict[str, int]:
    return {one.state: one.count for one in (await count(rt)).counts}


@pytest.mark.slow
async def test_processes_are_killed_while_they_work(open_rt: Open) -> None:
    async with open_rt() as rt:
        await make_table(rt)
        async with services(rt) as found:
            for _ in range(_AT_ONCE):
                await found.start()
            killed_at_work = 0
            for _ in range(_KILLS):
                await add_clips(rt)
                await asyncio.sleep(random.uniform(0, 0.3))
                await found.kill(random.randrange(_AT_ONCE))
                killed_at_work += (await states(rt)).get("running", 0) > len(found.running)
                await found.start()

            async def all_done() -> bool:
                return await states(rt) == {"done": _KILLS * _CLIPS}

            await until(all_done)
        written = await learnt(rt)
        assert len(written) == _KILLS * _CLIPS
        assert {writes for _, writes in written.values()} == {1}
        assert killed_at_work
