"""Behind PgBouncer: its default configuration, sessions that are shared, and what is named at start."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import URL

from mosic.background import Background
from mosic.boot import open_database
from mosic.errors import StartupError
from mosic.settings import Settings
from tests.support.databases import shown
from tests.support.poolers import needs_pgbouncer, pgbouncer
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav
from tests.support.waiting import until

pytestmark = needs_pgbouncer


async def use(service: Service) -> None:
    """Every door, many at once: what one client makes must not be met by another."""
    http = service.http

    async def one(seed: int) -> None:
        made = await http.post("/play/upload", content=wav(seed=seed), headers=AUTH)
        assert made.status_code == 201, made.text
        clip = made.json()
        url = f"/play/{clip['id']}"
        assert (await http.post("/play/upload", content=wav(seed=seed), headers=AUTH)).status_code == 200
        assert (await http.get(clip["stream_url"])).content == wav(seed=seed)
        edited = await http.patch(url, json={"title": f"t{seed}"}, headers=AUTH)
        assert (edited.status_code, edited.json()["title"]) == (200, f"t{seed}")
        assert (await http.get(url)).json()["title"] == f"t{seed}"
        assert (await http.get("/play", params={"sha256": clip["sha256"]})).json()[0]["id"] == clip["id"]
        tus = {**AUTH, "Tus-Resumable": "1.0.0"}
        begun = await http.post(
            "/play/uploads", headers={**tus, "Upload-Length": str(len(wav(seed=seed + 100)))}
        )
        assert begun.status_code == 201
        ended = await http.patch(
            begun.headers["location"],
            content=wav(seed=seed + 100),
            headers={**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"},
        )
        assert ended.status_code == 204, ended.text
        other = ended.headers["content-location"]
        assert (await http.get(f"{other}/stats")).json()["play_count"] == 0
        assert (await http.delete(other, headers=AUTH)).status_code == 204
        assert (await http.get(f"{url}/stats")).json()["play_count"] == 1

    await asyncio.gather(*(one(seed) for seed in range(12)))
    assert (await http.get("/ready")).json() == {"status": "ready"}
    listed = (await http.get("/play?limit=100")).json()
    assert len(listed) == 12

    async def all_is_learnt() -> bool:
        works = [await http.get(f"/play/{clip['id']}/works") for clip in listed]
        return all(work["state"] == "done" for answer in works for work in answer.json())

    await until(all_is_learnt)


async def test_its_default_configuration_works(
    tmp_path: Path, short_tmp: Path, own_database_url: URL
) -> None:
    async with (
        pgbouncer(own_database_url, short_tmp / f"b-{os.urandom(4).hex()}") as url,
        running_service(tmp_path / "media", url, works_at_once=1) as service,
    ):
        await use(service)


@pytest.mark.parametrize("said", ["", "?pgbouncer=true", "?statement_cache_size=0"])
async def test_sessions_that_are_shared(
    tmp_path: Path, short_tmp: Path, own_database_url: URL, said: str
) -> None:
    """With fewer sessions than Mosic has connections, so that every statement may meet another one."""
    async with (
        pgbouncer(
            own_database_url,
            short_tmp / f"b-{os.urandom(4).hex()}",
            pool_mode="transaction",
            default_pool_size=2,
            server_round_robin=1 if said else 0,
        ) as url,
        running_service(
            tmp_path / "one",
            url + said,
            database_direct_url=SecretStr(shown(own_database_url)),
            db_pool_size=6,
            works_at_once=1,
        ) as service,
        running_service(
            tmp_path / "one", url + said, database_direct_url=SecretStr(shown(own_database_url))
        ) as other,
    ):
        await use(service)
        # Changes are heard of over the direct way.
        clip = (await service.http.get("/play")).json()[0]
        path = f"/play/{clip['id']}/stream"
        assert (await other.http.get(path)).status_code == 200
        assert (await service.http.delete(f"/play/{clip['id']}", headers=AUTH)).status_code == 204
        async with asyncio.timeout(60):
            while (await other.http.get(path)).status_code != 404:
                await asyncio.sleep(0.05)


def settings(tmp_path: Path, url: str, direct: str | None = None) -> Settings:
    return Settings(
        _env_file=None,
        data_dir=tmp_path,
        database_url_override=SecretStr(url),
        database_direct_url=SecretStr(direct) if direct else None,
    )


@pytest.mark.parametrize("said", ["", "?pgbouncer=true"])
async def test_shared_sessions_without_another_way_are_named_at_start(
    tmp_path: Path, short_tmp: Path, own_database_url: URL, said: str
) -> None:
    async with pgbouncer(
        own_database_url, short_tmp / f"b-{os.urandom(4).hex()}", pool_mode="transaction"
    ) as url:
        with pytest.raises(StartupError, match="MOSIC_DATABASE_DIRECT_URL") as refused:
            async with open_database(settings(tmp_path, url + said), Background()):
                pass
        assert "\n" not in str(refused.value)
        with pytest.raises(StartupError, match=r"^MOSIC_DATABASE_DIRECT_URL: .* past it"):
            async with open_database(settings(tmp_path, url, url), Background()):
                pass


async def test_a_direct_way_to_another_database_is_refused(
    tmp_path: Path, database_url: URL, own_database_url: URL
) -> None:
    with pytest.raises(StartupError, match=r"^MOSIC_DATABASE_DIRECT_URL: .* not the same database"):
        async with open_database(
            settings(tmp_path, shown(database_url), shown(own_database_url)), Background()
        ):
            pass


async def test_a_parameter_that_it_refuses_is_named(
    tmp_path: Path, short_tmp: Path, own_database_url: URL
) -> None:
    async with pgbouncer(own_database_url, short_tmp / f"b-{os.urandom(4).hex()}") as url:
        with pytest.raises(StartupError, match=r"'options'.*ignore_startup_parameters"):
            async with open_database(
                settings(tmp_path, f"{url}?options=-csearch_path%3Dpublic"), Background()
            ):
                pass


async def test_a_pooler_without_transactions_is_named(
    tmp_path: Path, short_tmp: Path, own_database_url: URL
) -> None:
    async with pgbouncer(
        own_database_url, short_tmp / f"b-{os.urandom(4).hex()}", pool_mode="statement"
    ) as url:
        with pytest.raises(StartupError, match=r"cannot be used: .*transaction"):
            async with open_database(settings(tmp_path, url), Background()):
                pass


async def test_a_pooler_that_has_no_session_left(
    tmp_path: Path, short_tmp: Path, own_database_url: URL
) -> None:
    """It takes the connection and lets its statements wait: 503 within seconds, not when it is tired."""
    async with (
        pgbouncer(own_database_url, short_tmp / f"b-{os.urandom(4).hex()}", default_pool_size=4) as url,
        running_service(tmp_path / "media", url, db_pool_size=6, db_statement_seconds=1) as service,
    ):
        answers: list[httpx.Response] = await asyncio.gather(
            *(service.http.get("/play", timeout=60) for _ in range(30))
        )
        assert {answer.status_code for answer in answers} <= {200, 503}
        assert 200 in {answer.status_code for answer in answers}
