"""Each list reads the rows it shows through an index, also in a catalogue of many thousands."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy import URL, make_url

from benchmarks.catalogue import SEARCHES, cases, statements
from benchmarks.rows import fill
from mosic.core.catalog import list_clips
from mosic.db.engine import create_engine
from mosic.postgres import EmbeddedPostgres
from mosic.web.filtering import ListParameters
from tests.support.databases import empty_database

CLIPS = 20_000
# Of a page of 50: one more tells whether another follows, in each part of the order, and once for the joins.
# Filters by one thing in the order of another pass over what does not fit.
MOST_ROWS = 2_000
# One or two characters have no trigram: what has them is looked for in all clips.
SHORT = {f"q={text}" for text in SEARCHES if max(map(len, text.split())) < 3}
CASES = cases("night", "paper moon")


@pytest.fixture(scope="module")
async def catalogue(postgres: EmbeddedPostgres) -> AsyncIterator[tuple[asyncpg.Connection, URL]]:
    async with empty_database(postgres) as database:
        url = make_url(database)
        connection = await asyncpg.connect(database)
        await fill(connection, CLIPS)
        yield connection, postgres.url_for(str(url.database))
        await connection.close()


def nodes(plan: Any) -> list[Any]:
    return [plan, *(inner for one in plan.get("Plans", ()) for inner in nodes(one))]


@pytest.mark.parametrize("name", CASES)
async def test_lists_use_their_index(catalogue: Any, name: str) -> None:
    connection, url = catalogue
    sent = await statements(url, CASES[name])
    page, *_ = [one for one in sent if "count(" not in one[0] and one[0].startswith("SELECT")]
    ((said,),) = await connection.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {page[0]}", *page[1])
    found = nodes(json.loads(said)[0]["Plan"])
    scanned = [node for node in found if node.get("Relation Name") == "clips"]
    assert scanned
    if name in SHORT:
        return
    assert "Seq Scan" not in {node["Node Type"] for node in scanned}, said
    looked_at = sum(
        node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
        for node in scanned
        if "Index" in node["Node Type"]
    )
    assert looked_at <= MOST_ROWS, said


async def test_searches_are_planned_for_their_words_each_time(catalogue: Any) -> None:
    _, url = catalogue
    engine = create_engine(url, pool_size=1)
    runtime: Any = SimpleNamespace(begin=engine.begin)
    asked = ListParameters(q="люб")
    for _ in range(10):
        await list_clips(runtime, asked.filters(), asked.order, limit=50)
    async with engine.begin() as connection:
        kept = sa.text("SELECT statement, generic_plans FROM pg_prepared_statements")
        searches = [row for row in await connection.execute(kept) if "index_document" in row.statement]
    await engine.dispose()
    assert searches
    assert {row.generic_plans for row in searches} == {0}
