"""/health and /ready."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from mosic.core.health import check_ready
from mosic.core.runtime import Runtime
from mosic.web.routes import ops
from tests.support.databases import shown, way_to
from tests.support.house import House
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav
from tests.support.waiting import until


@pytest.fixture
def service(own_service: Service) -> Service:
    """One for each test, to break."""
    return own_service


def assert_unfit(answer: httpx.Response, *failed: str) -> None:
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["failed"]) == ("unavailable", list(failed))
    assert all(name in problem["detail"] for name in failed)


async def test_health_and_ready(service: Service) -> None:
    assert (await service.http.get("/health")).json() == {"status": "ok"}
    assert (await service.http.get("/ready")).json() == {"status": "ready"}


async def test_many_who_ask_at_once_cost_one_check(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may ask, and what a check needs is needed by others too."""
    checks: list[Runtime] = []
    go_on = asyncio.Event()

    async def counted(rt: Runtime) -> None:
        checks.append(rt)
        await go_on.wait()
        await check_ready(rt)

    monkeypatch.setattr(ops, "check_ready", counted)
    asked = [asyncio.create_task(service.http.get("/ready")) for _ in range(20)]
    while sum("run_asgi" in repr(task.get_coro()) for task in asyncio.all_tasks()) < len(asked):
        await asyncio.sleep(0.01)
    for _ in range(1000):  # until each has come to wait
        await asyncio.sleep(0)
    asked.pop().cancel()  # who leaves takes nobody with it
    go_on.set()
    assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
    assert len(checks) == 1
    assert (await service.http.get("/ready")).status_code == 200
    assert len(checks) == 2


async def test_ready_names_the_store_when_it_is_gone(service: Service) -> None:
    root = service.settings.media_root
    shutil.rmtree(root)
    root.write_text("no folder any more")
    answer = await service.http.get("/ready")
    assert_unfit(answer, "store")
    assert str(root) not in answer.text
    assert (await service.http.get("/health")).status_code == 200


async def test_folders_that_are_removed_under_the_service(service: Service) -> None:
    root = service.settings.media_root

    async def send(seed: int) -> httpx.Response:
        return await service.http.post("/play/upload", content=wav(seed=seed), headers=AUTH)

    clip = (await send(0)).json()
    shutil.rmtree(root / "blobs")
    # The place of a blob is made again, but nothing else can be done for those that were in it.
    assert [(await send(seed)).status_code for seed in range(1, 4)] == [201] * 3
    assert (await service.http.get(clip["stream_url"])).json()["code"] == "blob-missing"

    shutil.rmtree(root)
    for method, path in (("POST", "/play/upload"), ("PUT", "/play/upload/a.wav")):
        refused = await service.http.request(method, path, content=wav(seed=4), headers=AUTH)
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert refused.headers["retry-after"] == "2"
        assert str(root) not in refused.text
    # The folder can be written again, but it is not the store that this service had.
    unfit = await service.http.get("/ready")
    assert_unfit(unfit, "store")
    assert "identity" in unfit.json()["detail"]
    made = await send(4)
    assert made.status_code == 201
    assert (await service.http.get(made.json()["stream_url"])).content == wav(seed=4)


@pytest.mark.parametrize("revision", ["0000", "9999"], ids=["older", "newer"])
async def test_ready_names_the_migrations_at_another_revision(
    tmp_path: Path, own_database_url: URL, revision: str
) -> None:
    async with running_service(tmp_path / "media", shown(own_database_url)) as service:
        engine = create_async_engine(own_database_url)
        async with engine.begin() as connection:
            await connection.execute(
                sa.text("UPDATE mosic_version SET version_num = :revision"), {"revision": revision}
            )
        answer = await service.http.get("/ready")
        assert_unfit(answer, "migrations")
        assert revision in answer.json()["detail"]
        async with engine.begin() as connection:
            await connection.execute(sa.text("DROP TABLE mosic_version"))
        assert_unfit(await service.http.get("/ready"), "migrations")
        await engine.dispose()


async def test_ready_names_the_database_while_it_is_away(
    tmp_path: Path, short_tmp: Path, database_url: URL
) -> None:
    async with (
        way_to(database_url, short_tmp / f"way-{os.urandom(4).hex()}") as way,
        running_service(tmp_path / "media", way.url) as service,
    ):
        assert (await service.http.get("/ready")).status_code == 200
        await way.block()
        answer = await service.http.get("/ready")
        assert_unfit(answer, "database")
        assert str(short_tmp) not in answer.text
        assert (await service.http.get("/health")).status_code == 200
        await way.unblock()
        assert (await service.http.get("/ready")).status_code == 200


async def test_ready_names_a_disk_with_too_little_room(tmp_path: Path, database_url: URL) -> None:
    exbibyte_in_mb = 2**40
    async with running_service(
        tmp_path / "media", shown(database_url), disk_floor_mb=exbibyte_in_mb
    ) as service:
        answer = await service.http.get("/ready")
        assert_unfit(answer, "disk")
        assert "media" in answer.json()["detail"]
        # What is asked of it the service does all the same.
        upload = await service.http.post("/play/upload", content=wav(), headers=AUTH)
        assert upload.status_code == 201


async def test_between_sigterm_and_the_end(make_house: Callable[..., House]) -> None:
    """Told to stop, with time for load balancers: open and new connections are answered, /ready with 503.
    A second signal does not wait."""
    house = make_house(MOSIC_SHUTDOWN_DELAY_SECONDS="600")
    service = house.start("serve")
    async with httpx.AsyncClient(base_url=await house.url(service), timeout=60) as http:
        clip = (await http.post("/play/upload", content=wav(), headers={"X-API-Key": "house-key"})).json()
        assert (await http.get("/ready")).status_code == 200
        service.send_signal(signal.SIGTERM)

        async def stopping() -> bool:
            return (await http.get("/ready")).status_code != 200

        await until(stopping)
        assert_unfit(await http.get("/ready"), "shutting-down")
        assert (await http.get("/health")).status_code == 200
        async with httpx.AsyncClient(base_url=http.base_url, timeout=60) as another:
            assert_unfit(await another.get("/ready"), "shutting-down")
            assert (await another.get(f"/play/{clip['id']}/stream")).status_code == 200
        # The first may have come twice.
        await asyncio.sleep(0.6)
    service.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(service.wait, 60) == 0


@pytest.mark.slow
async def test_it_ends_when_the_time_for_load_balancers_is_over(make_house: Callable[..., House]) -> None:
    house = make_house(MOSIC_SHUTDOWN_DELAY_SECONDS="1")
    service = house.start("serve")
    await house.url(service)
    service.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert await asyncio.to_thread(service.wait, 60) == 0
    assert time.monotonic() - began >= 1
