"""«Not now» is not «internal error»: what a database answers when it cannot, over every door."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest
from sqlalchemy import URL

from mosic.db.faults import fault_of
from tests.support.databases import shown
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav

# SQLSTATE (PostgreSQL manual, appendix A) → the reason in the log; None is a fault of Mosic's own.
REASONS = {
    "08000": "unreachable",
    "08006": "unreachable",
    "25006": "read-only",
    "28P01": "refused",
    "3D000": "refused",
    "40001": "conflict",
    "40P01": "conflict",
    "42501": "refused",
    "42P01": "schema",
    "53000": "out-of-resources",
    "53100": "out-of-disk",
    "53200": "out-of-resources",
    "53300": "too-many-connections",
    "55000": "starting",
    "55P03": "timeout",
    "57014": "timeout",
    "57P01": "shutting-down",
    "57P02": "shutting-down",
    "57P03": "starting",
    "57P05": "timeout",
    "58030": "broken",
    "XX000": "broken",
    "XX001": "broken",
    "22003": None,
    "23514": None,
    "42601": None,
    "P0001": None,
}
# Those that a look at the database does not show, and that last.
HIDDEN = {
    "28P01",
    "3D000",
    "42501",
    "42P01",
    "53000",
    "53100",
    "53200",
    "53300",
    "58030",
    "XX000",
    "XX001",
}


@asynccontextmanager
async def connected(url: URL) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(
        host=url.host, port=url.port or 5432, user=url.username, database=url.database
    )
    try:
        yield connection
    finally:
        await connection.close()


async def fail_with(url: URL, sqlstate: str | None) -> None:
    """From now on every change of a table ends so, as a server would end it; None: no more."""
    async with connected(url) as connection:
        await connection.execute(
            "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" RAISE EXCEPTION 'made to fail' USING ERRCODE = '{sqlstate or '00000'}'; END $$"
            if sqlstate
            else "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RETURN NULL; END $$"
        )
        for table in ("clips", "clip_plays", "uploads"):
            await connection.execute(
                f"CREATE OR REPLACE TRIGGER fail BEFORE INSERT OR UPDATE OR DELETE ON {table}"
                " FOR EACH STATEMENT EXECUTE FUNCTION fail()"
            )


def lines(caplog: pytest.LogCaptureFixture, logger: str = "mosic.database") -> list[dict[str, object]]:
    return [record.msg for record in caplog.records if record.name == logger]  # type: ignore[misc]


async def writes(service: Service, clip_id: str, seed: int) -> dict[str, httpx.Response]:
    tus = {**AUTH, "Tus-Resumable": "1.0.0"}
    http = service.http
    return {
        "upload": await http.post("/play/upload", content=wav(seed=seed), headers=AUTH),
        "external": await http.post(
            "/play", json={"title": "x", "audio_url": "http://example.com/a.mp3"}, headers=AUTH
        ),
        "edit": await http.patch(f"/play/{clip_id}", json={"title": str(seed)}, headers=AUTH),
        "delete": await http.delete(f"/play/{clip_id}", headers=AUTH),
        "tus": await http.post("/play/uploads", headers={**tus, "Upload-Length": "10"}),
    }


@pytest.mark.parametrize("sqlstate", ["22003", "25006", "42P01", "53100", "57P01"])
async def test_a_change_that_fails(
    tmp_path: Path, own_database_url: URL, sqlstate: str, caplog: pytest.LogCaptureFixture
) -> None:
    reason = REASONS[sqlstate]
    async with running_service(
        tmp_path / "media", shown(own_database_url), remote_allow_private=True, play_wait_seconds=0.5
    ) as service:
        clip = (await service.http.post("/play/upload", content=wav(), headers=AUTH)).json()
        await fail_with(own_database_url, sqlstate)
        caplog.clear()
        for seed in (1, 2):
            for door, answer in (await writes(service, clip["id"], seed)).items():
                if reason is None:
                    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error"), door
                else:
                    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), door
                    assert int(answer.headers["retry-after"]) > 0, door
                assert "made to fail" not in answer.text
        if reason is not None:
            assert [line["reason"] for line in lines(caplog)] == [reason]
            assert not [record for record in caplog.records if record.exc_info]
            ready = await service.http.get("/ready")
            assert ready.status_code == (503 if sqlstate in HIDDEN else 200)
            if sqlstate in HIDDEN:
                assert ready.json()["failed"] == ["database"]
                assert fault_of(state(sqlstate)).sentence in ready.json()["detail"]  # type: ignore[union-attr]
            assert await service.metric(f'mosic_database_faults_total{{reason="{reason}"}}') >= 10
        # Listeners go on, and what they hear is counted later.
        stream = await service.http.get(clip["stream_url"])
        assert (stream.status_code, stream.content) == (200, wav())
        await fail_with(own_database_url, None)
        for door, answer in (await writes(service, clip["id"], 3)).items():
            assert answer.status_code < 300, door
        assert [path for path in service.files() if path.suffix == ".part"] == []


def state(sqlstate: str) -> asyncpg.PostgresError:
    return asyncpg.PostgresError.new({"C": sqlstate, "M": "x"})


async def play_count(service: Service, clip_id: str) -> int:
    stats = (await service.http.get(f"/play/{clip_id}/stats")).json()
    return int(stats["play_count"])


async def test_a_database_that_takes_no_changes_after_a_failover(
    tmp_path: Path, own_database_url: URL, caplog: pytest.LogCaptureFixture
) -> None:
    """The connections that there are lead to the server that was demoted: new ones are made."""
    async with running_service(tmp_path / "media", shown(own_database_url), play_wait_seconds=0.5) as service:
        clip = (await service.http.post("/play/upload", content=wav(), headers=AUTH)).json()
        name = own_database_url.database
        async with connected(own_database_url) as connection:
            await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            await end_others(connection)
        while (answer := await service.http.get("/play")).status_code != 200:
            await asyncio.sleep(0.05)
        refused = await service.http.post("/play/upload", content=wav(seed=1), headers=AUTH)
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        ready = (await service.http.get("/ready")).json()
        assert (ready["status"], ready["failed"]) == (503, ["database"])
        assert "read-only" in ready["detail"]
        assert (await service.http.get(clip["stream_url"])).status_code == 200
        assert (await service.http.get(f"/play/{clip['id']}")).status_code == 200
        # The other server: what is connected to this one still takes no changes.
        async with connected(own_database_url) as connection:
            await connection.execute("SET default_transaction_read_only = off")
            await connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        async with asyncio.timeout(60):
            while (
                answer := await service.http.post("/play/upload", content=wav(seed=2), headers=AUTH)
            ).status_code == 503:
                await asyncio.sleep(0.05)
        assert answer.status_code == 201
        async with asyncio.timeout(60):
            while await play_count(service, clip["id"]) != 1:
                await asyncio.sleep(0.05)
        assert (await service.http.get("/ready")).status_code == 200
    assert [line["reason"] for line in lines(caplog)].count("read-only") == 1


async def end_others(connection: asyncpg.Connection) -> None:
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


async def test_too_many_connections(tmp_path: Path, own_database_url: URL) -> None:
    role = f"few_{os.urandom(4).hex()}"
    async with connected(own_database_url) as connection:
        await connection.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 12")
        for what in ("ALL TABLES IN SCHEMA public", "SCHEMA public"):
            await connection.execute(f"GRANT ALL ON {what} TO {role}")
        try:
            url = own_database_url.set(username=role)
            async with running_service(tmp_path / "media", shown(url)) as service:
                await connection.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
                await end_others(connection)
                for _ in range(2):
                    answer = await service.http.get("/play")
                    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
                ready = (await service.http.get("/ready")).json()
                assert ready["failed"] == ["database"]
                assert "no more connections" in ready["detail"]
                await connection.execute(f"ALTER ROLE {role} CONNECTION LIMIT 12")
                async with asyncio.timeout(60):
                    while (await service.http.get("/play")).status_code != 200:
                        await asyncio.sleep(0.05)
        finally:
            await connection.execute(f"DROP OWNED BY {role}")
            await connection.execute(f"DROP ROLE {role}")


async def test_a_statement_that_takes_too_long(
    tmp_path: Path, own_database_url: URL, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is told of it but a 503: the slots of the pool are free again, and the server has stopped."""
    async with (
        connected(own_database_url) as other,
        running_service(
            tmp_path / "media", shown(own_database_url), db_statement_seconds=0.3, db_pool_size=2
        ) as service,
    ):
        clip = (await service.http.post("/play/upload", content=wav(), headers=AUTH)).json()
        async with other.transaction():
            await other.execute("LOCK TABLE clips IN ACCESS EXCLUSIVE MODE")
            answers = await asyncio.gather(*(service.http.get("/play") for _ in range(6)))
            assert {answer.status_code for answer in answers} == {503}
            waiting = await other.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event_type = 'Lock'"
            )
            assert waiting <= 1  # the metrics look at the catalogue now and then
        assert (await service.http.get(f"/play/{clip['id']}")).status_code == 200
        assert (await service.http.get("/ready")).status_code == 200
    assert [line["reason"] for line in lines(caplog)] == ["timeout"]


def test_what_the_driver_itself_raises() -> None:
    assert fault_of(ValueError()) is None
    assert fault_of(KeyError()) is None
    # A value that no column can hold is no trouble of the database.
    assert fault_of(asyncpg.exceptions.DataError("x")) is None
    assert fault_of(FileNotFoundError()) is None
    for error in (
        TimeoutError(),
        ConnectionResetError(),
        asyncpg.InterfaceError("x"),
        asyncpg.ConnectionDoesNotExistError("x"),
    ):
        fault = fault_of(error)
        assert fault is not None
        assert (fault.reason, fault.lost) == ("unreachable", True)
    broken = asyncpg.ConnectionDoesNotExistError("closed in the middle")
    broken.__cause__ = asyncpg.AdminShutdownError("x")
    assert fault_of(broken) == fault_of(asyncpg.AdminShutdownError("x"))


@pytest.mark.parametrize("sqlstate", REASONS)
def test_each_sqlstate_has_its_reason(sqlstate: str) -> None:
    fault = fault_of(state(sqlstate))
    assert (fault.reason if fault else None) == REASONS[sqlstate]
    assert bool(fault and fault.hidden) == (sqlstate in HIDDEN)
