"""Plays of each day, and the clips that were played most: over HTTP, in the table, and when days are old."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from mosic.boot import open_runtime
from mosic.core.played import forget_old_days
from mosic.core.sweep import sweep
from mosic.db.engine import create_engine
from mosic.metrics import Metrics
from tests.support.databases import shown
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav


async def add(service: Service, seed: int = 0) -> dict[str, Any]:
    answer = await service.http.put("/play/upload", content=wav(seed=seed), headers=AUTH)
    assert answer.status_code == 201
    clip: dict[str, Any] = answer.json()
    return clip


@pytest.fixture
async def database(service: Service) -> AsyncIterator[AsyncEngine]:
    """That of the service of this file."""
    url = service.settings.database_url_override
    assert url
    engine = create_engine(make_url(url.get_secret_value()), pool_size=2)
    yield engine
    await engine.dispose()


async def run(database: AsyncEngine, statement: str, **values: Any) -> Any:
    async with database.begin() as connection:
        result = await connection.execute(sa.text(statement), values)
        return result.all() if result.returns_rows else None


async def age(database: AsyncEngine, days: int) -> None:
    """Let all plays be older by so many days, as if the time had passed."""
    async with database.begin() as connection:
        # Without triggers: nothing is played here.
        await connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        for table in ("clip_plays", "clip_days"):
            aged = f"UPDATE {table} SET day = day - cast(:days AS integer)"  # noqa: S608
            await connection.execute(sa.text(aged), {"days": days})


async def play(service: Service, clip: dict[str, Any], times: int = 1) -> None:
    for _ in range(times):
        assert (await service.http.get(f"/play/{clip['id']}/stream")).status_code == 200


async def daily(service: Service, clip: dict[str, Any], days: int) -> list[dict[str, Any]]:
    answer = await service.http.get(f"/play/{clip['id']}/stats?days={days}")
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()["daily"]
    return found


async def test_every_day_is_there_in_order_and_today_is_the_last(
    service: Service, database: AsyncEngine
) -> None:
    clip = await add(service)
    before = datetime.now(UTC).date()
    await play(service, clip, 2)
    await age(database, 3)
    await play(service, clip, 3)
    await age(database, 1)
    await play(service, clip)
    found = await daily(service, clip, 6)
    if datetime.now(UTC).date() != before:
        pytest.skip("midnight came in between")
    days = [date.fromisoformat(day["date"]) for day in found]
    assert days == [before - timedelta(days=ago) for ago in (5, 4, 3, 2, 1, 0)]
    assert [day["plays"] for day in found] == [0, 2, 0, 0, 3, 1]
    assert [day["plays"] for day in await daily(service, clip, 1)] == [1]
    assert sum(day["plays"] for day in await daily(service, clip, 366)) == 6
    assert (await service.http.get(f"/play/{clip['id']}/stats")).json()["play_count"] == 6


async def test_a_clip_that_was_never_played_has_days_too(service: Service) -> None:
    clip = await add(service)
    assert [day["plays"] for day in await daily(service, clip, 30)] == [0] * 30


@pytest.mark.parametrize("query", ["days=0", "days=-1", "days=367", "days=x", "days=", "day=3"])
async def test_days_out_of_bounds_are_422(service: Service, query: str) -> None:
    clip = await add(service)
    for path in (f"/play/{clip['id']}/stats", "/play/top"):
        answer = await service.http.get(f"{path}?{query}")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")


async def test_the_most_played_come_first_and_of_equals_the_newest(
    service: Service, database: AsyncEngine
) -> None:
    clips = [await add(service, seed) for seed in range(5)]
    await play(service, clips[0], 4)
    await age(database, 8)
    for clip, times in zip(clips, (1, 2, 2, 0, 3), strict=True):
        await play(service, clip, times)

    async def top(query: str) -> list[tuple[int, str]]:
        answer = await service.http.get(f"/play/top?{query}")
        assert answer.status_code == 200
        return [(one["plays"], one["clip"]["id"]) for one in answer.json()]

    ids = [clip["id"] for clip in clips]
    week = [(3, ids[4]), (2, ids[2]), (2, ids[1]), (1, ids[0])]
    assert await top("") == await top("days=7&limit=100") == week
    assert await top("days=7&limit=2") == week[:2]
    assert (await top("days=9"))[0] == (5, ids[0])
    assert (await service.http.delete(f"/play/{ids[4]}", headers=AUTH)).status_code == 204
    assert await top("days=7") == week[1:]
    shown = (await service.http.get("/play/top")).json()[0]["clip"]
    assert shown == (await service.http.get(f"/play/{ids[2]}")).json()


async def test_old_days_go_with_the_sweep_and_the_sum_stays(service: Service, database: AsyncEngine) -> None:
    clip = await add(service)
    await play(service, clip, 2)
    await age(database, 399)
    await play(service, clip)
    async with open_runtime(service.settings, Metrics()) as rt:
        assert await forget_old_days(rt) == 0
        await age(database, 1)
        await sweep(rt, grace_seconds=3600)
    assert await run(database, "SELECT count(*) FROM clip_days") == [(0,)]
    assert (await service.http.get(f"/play/{clip['id']}")).json()["play_count"] == 3


async def test_no_more_days_than_are_kept_can_be_asked_for(database_url: URL, tmp_path: Any) -> None:
    async with running_service(tmp_path, shown(database_url), daily_plays_days=10) as service:
        clip = await add(service)
        assert len(await daily(service, clip, 10)) == 10
        answer = await service.http.get(f"/play/{clip['id']}/stats?days=11")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
        assert "1 to 10" in answer.json()["detail"]
        assert (await service.http.get("/play/top?days=11")).status_code == 422


async def test_a_clip_takes_its_days_along(service: Service, database: AsyncEngine) -> None:
    clip = await add(service)
    await play(service, clip)
    await age(database, 1)
    await play(service, clip)
    assert await run(database, "SELECT plays FROM clip_days") == [(1,)]
    await run(database, "DELETE FROM clips")
    assert await run(database, "SELECT count(*) FROM clip_days") == [(0,)]


async def test_a_clock_that_was_set_back_loses_no_play(service: Service, database: AsyncEngine) -> None:
    clip = await add(service)
    await play(service, clip, 2)
    await age(database, -2)
    await play(service, clip)
    assert await run(database, "SELECT day_plays, play_count FROM clip_plays") == [(3, 3)]
    await age(database, 2)
    assert (await daily(service, clip, 1))[0]["plays"] == 3
