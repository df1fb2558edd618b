"""kill -9 at any moment: what was promised is there, what was not is whole or gone.

A real service with its own PostgreSQL is loaded by several clients at once, killed at a random moment and
started again, over and over, on the same folders.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import signal
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from mosic.db.engine import create_engine
from mosic.postgres import open_embedded
from tests.support.house import House, kill
from tests.support.load import Ledger, Load


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    # What the clients deleted is gone: sent again, the bytes are another clip. How the trash lives through
    # kills is a matter of tests/core/test_crash_steps.py.
    return make_house(MOSIC_TRASH_DAYS="0")


async def every_clip(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    clips: list[dict[str, Any]] = []
    following: str | None = "/play?limit=500"
    while following:
        answer = await http.get(following)
        assert answer.status_code == 200
        clips += answer.json()
        following = answer.links["next"]["url"] if "next" in answer.links else None
    return clips


async def verify(http: httpx.AsyncClient, ledger: Ledger, *, everything: bool = False) -> None:
    """What is listed is whole, and what was promised is listed."""
    listed = {clip["id"]: clip for clip in await every_clip(http)}
    for clip_id, clip in listed.items():
        assert clip["sha256"] in ledger.sent
        if titles := ledger.titles.get(clip_id):
            assert clip["title"] in titles
            ledger.titles[clip_id] = {clip["title"]}
        if clip_id in ledger.heard and not everything and random.random() < 0.9:
            continue
        ledger.heard.add(clip_id)
        digest, size = hashlib.sha256(), 0
        async with http.stream("GET", f"/play/{clip_id}/stream") as answer:
            assert answer.status_code == 200, clip
            async for chunk in answer.aiter_raw():
                digest.update(chunk)
                size += len(chunk)
        assert (size, digest.hexdigest()) == (clip["size"], clip["sha256"])
    assert {clip_id: clip["sha256"] for clip_id, clip in listed.items()}.items() >= ledger.promised.items()
    gone = ledger.gone()
    assert gone.isdisjoint(listed)
    for clip_id in [clip_id for clip_id in ledger.deleted if clip_id in gone][-10:]:
        assert (await http.get(f"/play/{clip_id}")).status_code == 404
        assert (await http.get(f"/play/{clip_id}/stream")).status_code == 404
    # Their fate is known now.
    ledger.deleted |= {one: sha256 for one, sha256 in ledger.doubtful.items() if one not in listed}
    ledger.doubtful.clear()
    ledger.promised = {clip_id: clip["sha256"] for clip_id, clip in listed.items()}


async def one_round(house: House, ledger: Ledger, rng: random.Random) -> None:
    service = house.start("serve", "--workers", rng.choice(["1", "1", "2"]))
    async with httpx.AsyncClient(base_url=await house.url(service), timeout=60) as http:
        await ready(http)
        await verify(http, ledger)
        # Without grace it is in the way of the uploads: they may fail, but nothing may be lost.
        sweep = house.start("sweep", "--grace", "0") if rng.random() < 0.25 else None
        load = asyncio.create_task(Load(http, ledger, rng).run())
        await asyncio.sleep(rng.uniform(0, 2) if sweep else rng.uniform(0, 0.7))
        assert not load.done(), load.exception()
        if rng.random() < 0.25 and (pid := house.postgres()):
            os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(rng.choice([0, 0, rng.uniform(0, 0.3)]))
        for process in (service, sweep):
            if process is not None:
                kill(process)
        await load


async def ready(http: httpx.AsyncClient) -> None:
    """With several workers the address is bound before anybody answers there."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await http.get("/ready")).status_code == 200:
                    return
            await asyncio.sleep(0.02)


async def crash(house: House, *, rounds: int, seed: int) -> Ledger:
    ledger, rng = Ledger(), random.Random(seed)
    for number in range(rounds):
        try:
            await one_round(house, ledger, rng)
        except BaseException as error:
            error.add_note(f"seed {seed}, round {number}; the service said:\n{house.log()[-20_000:]}")
            raise
    return ledger


async def settle(house: House, ledger: Ledger) -> None:
    """After a sweep the disk holds the bytes of the clips, each once, and nothing else."""
    service = house.start("serve")
    async with httpx.AsyncClient(base_url=await house.url(service), timeout=60) as http:
        client = Load(http, ledger, random.Random(0))
        while ledger.resumable:
            await client.resume(ledger.resumable.pop())
        await verify(http, ledger, everything=True)
        await time_passes(house)
        swept = house.run("sweep", "--grace", "0")
        assert swept.returncode == 0, swept.stderr
        blobs = [path.name for path in house.media.glob("blobs/*/*")]
        assert sorted(blobs) == sorted(clip_id.replace("-", "") for clip_id in ledger.promised)
        assert list(house.media.glob(".staging/*")) == []
        audit = house.run("audit", "--grace", "0")
        assert audit.returncode == 0, audit.stdout
        await verify(http, ledger, everything=True)
    assert service.poll() is None
    print(f"answers {dict(ledger.answers)}, cut off {dict(ledger.cut)}, {swept.stdout.strip()}")


async def time_passes(house: House) -> None:
    """What was created without its client hearing of it expires."""
    server = await open_embedded(house.folder / "data")
    engine = create_engine(server.url, pool_size=1)
    async with engine.begin() as connection:
        await connection.execute(sa.text("UPDATE uploads SET expires_at = now() WHERE clip_id IS NULL"))
        # A kill cannot show what a power cut would: that what is committed is on the disk.
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert await connection.scalar(sa.text(f"SHOW {setting}")) == "on"
    await engine.dispose()
    await server.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_kill_9_many_times(house: House) -> None:
    ledger = await crash(house, rounds=20, seed=random.randrange(2**32))
    await settle(house, ledger)
    # The kills did come in the middle of something.
    assert ledger.answers[201] > 50
    assert ledger.answers[204] > 10
    assert ledger.cut["POST"] + ledger.cut["PUT"] > 25
    assert ledger.cut["DELETE"] > 2
