"""A real service under listeners in numbers: nothing they hear is lost, and nothing they leave stays."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import pytest

from mosic.postgres import open_embedded
from tests.support.house import KEY, House, kill
from tests.support.players import Crowd, Player
from tests.support.sounds import wav
from tests.support.waiting import until

AUTH = {"X-API-Key": KEY}
LONG = wav(1.0, rate=4_000_000)
"""8 MB: more than sockets hold."""


@dataclass
class Running:
    house: House
    process: subprocess.Popen[bytes]
    workers: list[int]
    port: int
    http: httpx.AsyncClient
    players: list[Player]

    def player(self, *, ahead: int = 65536) -> Player:
        self.players.append(Player(self.port, ahead=ahead))
        return self.players[-1]

    async def connected(self, count: int, *, ahead: int = 65536) -> list[Player]:
        return [await self.player(ahead=ahead).connect() for _ in range(count)]

    async def add(self, content: bytes) -> str:
        answer = await self.http.post("/play/upload", content=content, headers=AUTH)
        assert answer.status_code in (200, 201), answer.text
        return f"/play/{answer.json()['id']}"

    async def plays(self, clip: str) -> int:
        count: int = (await self.http.get(f"{clip}/stats")).json()["play_count"]
        return count

    async def metric(self, name: str) -> float:
        """Of the one worker."""
        lines = (await self.http.get("/metrics")).text.splitlines()
        (line,) = [line for line in lines if line.startswith(f"{name} ")]
        return float(line.split()[1])


@asynccontextmanager
async def running(house: House, workers: int = 1) -> AsyncIterator[Running]:
    process = house.start("serve", "--workers", str(workers))
    url = httpx.URL(await house.url(process))
    assert url.port
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        service = Running(house, process, await house.workers(process, workers), url.port, http, [])
        try:
            yield service
        finally:
            for player in service.players:
                await player.reset()


@asynccontextmanager
async def database(house: House) -> AsyncIterator[asyncpg.Connection]:
    server = await open_embedded(house.folder / "data")
    url = server.url
    connection = await asyncpg.connect(host=url.host, port=url.port, user=url.username, database=url.database)
    try:
        yield connection
    finally:
        await connection.close()
        await server.close()


def descriptors(pid: int) -> Counter[str]:
    """What the process has open, by kind; of files by name."""
    found: Counter[str] = Counter()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            continue
        found[target.partition(":[")[0]] += 1
    return found


def resident(pid: int) -> int:
    """Bytes of memory that are the process's own."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(pid)


@pytest.mark.slow
async def test_plays_add_up_to_exactly_so_many(make_house: Callable[..., House]) -> None:
    workers, connections, plays = 4, 1000, 10_000
    async with running(make_house(), workers) as service:
        hot, other = [await service.add(wav(seed=seed)) for seed in range(2)]
        players = await service.connected(connections)

        async def play(number: int) -> Counter[int]:
            answers: Counter[int] = Counter()
            for turn in range(plays // connections):
                clip = other if (number + turn) % 4 == 0 else hot
                answers[await players[number].hear(f"{clip}/stream")] += 1
            return answers

        # All at once, each with its next as soon as it has heard the last.
        answers = await asyncio.gather(*(play(number) for number in range(connections)))
        assert sum(answers, Counter()) == {200: plays}
        # At once, whatever worker tells it.
        for _ in range(10):
            counts = [await service.plays(clip) for clip in (hot, other)]
            assert counts == [plays * 3 // 4, plays // 4]
        taken = [descriptors(pid)["socket"] for pid in service.workers]
        assert len(taken) == workers
        assert min(taken) > connections / workers / 10, "some worker took no part"


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_kill_9_loses_no_play_that_was_answered(make_house: Callable[..., House]) -> None:
    house, rng = make_house(), random.Random()
    answered = asked = heard = 0
    clip = ""
    postgres_killed = False
    for number in range(5):
        async with running(house, rng.choice([1, 2])) as service:
            clip = clip or await service.add(wav())
            count = await service.plays(clip)
            assert count >= answered
            if not postgres_killed:
                assert count <= asked
            answered = asked = count
            crowd = Crowd(service.port, f"{clip}/stream", 40)
            playing = asyncio.create_task(crowd.play())
            async with asyncio.timeout(60):
                # Any other round may end before its first answer.
                while number == 0 and not crowd.answered:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(rng.uniform(0, 0.6))
            # Also both: then a commit may be there whose answer was lost, and be made again.
            if (postgres_killed := rng.random() < 0.25) and (pid := house.postgres()):
                os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(rng.uniform(0, 0.1))
            kill(service.process)
            await playing
            # A worker that does not know the clip yet cannot play it without the database.
            assert set(crowd.answers) <= ({206, 503} if postgres_killed else {206})
            answered += crowd.answered
            asked += crowd.answered + crowd.cut
            heard += crowd.answered
    async with running(house) as service:
        assert answered <= await service.plays(clip)
    assert heard > 0


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
async def test_clients_that_vanish_leave_nothing(make_house: Callable[..., House], count: int) -> None:
    async with running(make_house()) as service:
        clips = [await service.add(LONG), await service.add(wav())]
        (pid,) = service.workers

        async def vanish(number: int) -> None:
            player = await service.player().connect()
            player.send(f"{clips[number % 2]}/stream", *(("Range: bytes=0-",) if number % 3 else ()))
            if number % 4 == 1:
                await asyncio.sleep(random.uniform(0, 0.05))
            elif number % 4 > 1:
                await player.read(random.choice([1, 1000, 60_000]))
            await player.reset()

        await asyncio.gather(*(vanish(number) for number in range(20)))
        async with database(service.house) as connection:
            connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mosic'"
            busy = f"{connections} AND state <> 'idle'"
            # Those that came first are known to be gone before it is counted what there is.
            async with asyncio.timeout(60):
                while await service.metric("mosic_active_streams"):
                    await asyncio.sleep(0.05)
            before, at_database = descriptors(pid), await connection.fetchval(connections)
            for start in range(0, count, 250):
                await asyncio.gather(*(vanish(start + number) for number in range(min(count, 250))))
            await until(lambda: descriptors(pid) == before, lambda: descriptors(pid) - before)
            assert await connection.fetchval(connections) == at_database
            assert await connection.fetchval(busy) == 0
        assert await service.metric("mosic_active_streams") == 0
        assert await service.metric("mosic_plays_waiting") == 0
        # Whole files did not go to those who had left.
        assert await service.metric("mosic_stream_bytes_total") < count * len(LONG) / 4
        assert "Traceback" not in service.house.log()


@pytest.mark.slow
async def test_listeners_at_10_kb_a_second(make_house: Callable[..., House]) -> None:
    count = 500
    async with running(make_house()) as service:
        clip = await service.add(LONG)
        (pid,) = service.workers
        # What a process takes once, it takes before it is measured.
        for _ in range(5):
            assert await service.player().hear(f"{clip}/stream") == 200
        before = resident(pid)
        players = await service.connected(count, ahead=2048)
        for player in players:
            assert await player.ask(f"{clip}/stream") == 200
        heard = [b""] * count

        async def listen(number: int) -> None:
            for _ in range(15):
                heard[number] += await players[number].read_exactly(2000)
                await asyncio.sleep(0.2)

        listening = asyncio.gather(*(listen(number) for number in range(count)))
        others = service.player()
        while not listening.done():
            assert await others.hear(f"{clip}/stream", "Range: bytes=0-65535") == 206
            assert await others.hear("/play") == 200
            await asyncio.sleep(0.05)
        await listening
        assert set(heard) == {LONG[:30_000]}
        assert await service.metric("mosic_active_streams") == count
        each = (resident(pid) - before) / count
        print(f"{count} listeners at 10 KB/s: {each / 1024:.0f} KiB each")
        # And what the process takes once.
        assert each * count < 96 * 1024 * count + 16 * 1024 * 1024


@pytest.mark.slow
async def test_known_clips_play_on_while_postgres_is_restarted(make_house: Callable[..., House]) -> None:
    house = make_house(MOSIC_PLAY_WAIT_SECONDS="0.3")
    async with running(house) as service:
        clip = await service.add(wav())
        crowd = Crowd(service.port, f"{clip}/stream", 20)
        playing = asyncio.create_task(crowd.play())
        restarts = (signal.SIGINT, signal.SIGKILL)
        for how in restarts:
            await asyncio.sleep(0.5)
            before, pid = crowd.answered, house.postgres()
            assert pid
            os.kill(pid, how)
            await until(lambda: crowd.answered > before + 100, lambda: crowd.answers)  # noqa: B023
            async with asyncio.timeout(60):
                while (await service.http.get("/ready")).status_code != 200:
                    await asyncio.sleep(0.05)
        crowd.stop()
        await playing
        assert set(crowd.answers) == {206}
        assert crowd.cut == 0
        async with asyncio.timeout(60):
            while await service.metric("mosic_plays_waiting"):
                await asyncio.sleep(0.05)
        # A commit whose answer was lost is made again: it held at most one play of each player.
        assert 0 <= await service.plays(clip) - crowd.answered <= len(restarts) * crowd.count
        new = await service.add(wav(seed=1))
        assert (await service.http.get(f"{new}/stream")).status_code == 200


@pytest.mark.slow
async def test_without_postgres_for_good_the_plays_are_kept_up_to_a_bound(
    make_house: Callable[..., House],
) -> None:
    """Stopped, not ended: as when it, or the way to it, hangs."""
    house = make_house(MOSIC_PLAY_WAIT_SECONDS="0.3", MOSIC_PLAYS_WAITING_MAX="50")
    async with running(house) as service:
        clip = await service.add(wav())
        player = service.player()
        assert await player.hear(f"{clip}/stream") == 200
        pids = postgres_processes(house)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            answers = Counter([await player.hear(f"{clip}/stream") for _ in range(60)])
            assert answers == {200: 50, 503: 10}
            # Seeking is not playing.
            assert await player.hear(f"{clip}/stream", "Range: bytes=100-") == 206
            assert await service.metric("mosic_plays_waiting") == 50
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        async with asyncio.timeout(60):
            while await service.metric("mosic_plays_waiting"):
                await asyncio.sleep(0.05)
        assert await service.plays(clip) == 51


def postgres_processes(house: House) -> list[int]:
    postmaster = house.postgres()
    assert postmaster
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return [postmaster, *map(int, children)]


@pytest.mark.slow
async def test_what_is_deleted_is_played_by_no_worker(make_house: Callable[..., House]) -> None:
    workers = 2
    async with running(make_house(), workers) as service, database(service.house) as connection:
        players = await service.connected(8 * workers)

        async def play_and_delete(seed: int) -> None:
            clip = await service.add(wav(seed=seed))
            stream = f"{clip}/stream"
            heard = await asyncio.gather(*(player.hear(stream) for player in players))
            assert set(heard) == {200}
            playing = [asyncio.create_task(player.hear(stream)) for player in players]
            assert (await service.http.delete(clip, headers=AUTH)).status_code == 204
            # Those who asked before may be told either; whoever asks from now on is told one thing.
            during = await asyncio.gather(*playing)
            assert set(during) <= {200, 404}
            after = await asyncio.gather(*(player.hear(stream) for player in players))
            assert set(after) == {404}

        for seed in range(10):
            await play_and_delete(seed)
        # And while the connections on which the workers are told of changes are cut again and again.
        cutting = asyncio.create_task(cut_now_and_then(connection))
        for seed in range(10, 30):
            await play_and_delete(seed)
        assert not cutting.done()
        cutting.cancel()
        await asyncio.gather(cutting, return_exceptions=True)
        assert service.house.log().count("no longer notified of changes") > 3


async def cut_now_and_then(connection: asyncpg.Connection) -> None:
    while True:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_notify($1, $2)'"
        )
        await asyncio.sleep(random.uniform(0, 0.2))


@pytest.mark.slow
async def test_sigterm_with_listeners_ends_in_time_and_loses_no_play(
    make_house: Callable[..., House],
) -> None:
    house = make_house(MOSIC_SHUTDOWN_SECONDS="2")
    async with running(house) as service:
        clip, other = await service.add(LONG), await service.add(wav())
        slow = await service.connected(20)
        for player in slow:
            assert await player.ask(f"{clip}/stream") == 200
        quick = await service.player().connect()
        assert await quick.ask(f"{clip}/stream") == 200
        crowd = Crowd(service.port, f"{other}/stream", 10)
        playing = asyncio.create_task(crowd.play())
        await asyncio.sleep(0.3)
        service.process.send_signal(signal.SIGTERM)
        # Who can be served within the time is.
        assert await quick.read_exactly(len(LONG)) == LONG
        assert await asyncio.to_thread(service.process.wait, 60) == 0
        await playing
        assert "Traceback" not in house.log()
        assert "plays lost" not in house.log()
    async with running(house) as service:
        assert await service.plays(clip) == 21
        assert crowd.answered <= await service.plays(other) <= crowd.answered + crowd.cut
