"""Lists of 10,000, 100,000 and 1,000,000 clips: pages over HTTP against the same statements alone."""

from __future__ import annotations

import asyncio
import http.client
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode, urlsplit

import asyncpg
from sqlalchemy import URL, event

from benchmarks import servers
from benchmarks.report import machine, paired_ratio, table
from benchmarks.rows import fill
from mosic.core import catalog
from mosic.db.engine import create_engine
from mosic.db.sorting import SORTS
from mosic.postgres import open_embedded
from mosic.web.filtering import ListParameters

SIZES = tuple(int(text) for text in os.environ.get("BENCH_CLIPS", "10000,100000,1000000").split(","))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "20"))
Statement = tuple[str, tuple[Any, ...]]
# Three letters in some scripts, one and two characters of CJK, several words, and what is nowhere.
SEARCHES = ("riv", "caf", "люб", "νύχ", "thu", "사랑 노", "京", "夜曲", "blue river", "strasse", "qqq")
FILTERS: Mapping[str, str] = {
    "genre": "jazz",
    "media_type": "audio/flac",
    "created_after": "2020-01-10T00:00:00Z",
    "created_before": "2020-01-10T00:00:00Z",
    "duration_min": "890",
    "duration_max": "12",
    "sha256": "00" * 32,
}


def cases(artist: str, album: str) -> dict[str, dict[str, str]]:
    """Name → the query of a page."""
    return {
        **{f"sort={sort}": {"sort": sort} for sort in SORTS},
        **{name: {name: value} for name, value in FILTERS.items()},
        "artist": {"artist": artist},
        "album": {"album": album},
        **{f"q={text}": {"q": text} for text in SEARCHES},
    }


async def statements(url: URL, query: Mapping[str, str]) -> list[Statement]:
    """What the service sends to the database for this page, in order."""
    sent: list[Statement] = []
    engine = create_engine(url, pool_size=1)

    def note(_c: Any, _d: Any, statement: str, parameters: Any, *_: Any) -> None:
        sent.append((statement, tuple(parameters)))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        asked = ListParameters.model_validate(dict(query))
        runtime: Any = SimpleNamespace(begin=engine.begin)
        await catalog.list_clips(runtime, asked.filters(), asked.order, limit=asked.limit)
    finally:
        await engine.dispose()
    return sent


class Pages:
    """One connection that is kept, as an app has it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port)

    def get(self, query: Mapping[str, str]) -> float:
        began = time.perf_counter()
        self._connection.request("GET", f"/play?{urlencode(query)}")
        answer = self._connection.getresponse()
        body = answer.read()
        seconds = time.perf_counter() - began
        if answer.status != 200:
            raise RuntimeError(body.decode())
        return seconds


async def _alone(connection: asyncpg.Connection, sent: list[Statement]) -> float:
    began = time.perf_counter()
    async with connection.transaction():
        for statement, parameters in sent:
            await connection.fetch(statement, *parameters)
    return time.perf_counter() - began


async def measure(url: URL, pages: Pages, rounds: int) -> dict[str, tuple[float, float, float]]:
    """Case → median seconds of the page, of its statements alone, and the median of their ratios."""
    connection = await connect(url)
    found = {}
    try:
        ((artist, album),) = await connection.fetch(
            "SELECT artist, album FROM clips WHERE artist IS NOT NULL AND album IS NOT NULL LIMIT 1"
        )
        for name, query in cases(artist, album).items():
            sent = await statements(url, query)
            over, alone = [], []
            # The first ones warm caches up.
            for number in range(rounds + 2):
                pair = await asyncio.to_thread(pages.get, query), await _alone(connection, sent)
                if number >= 2:
                    over.append(pair[0])
                    alone.append(pair[1])
            found[name] = (median(over), median(alone), paired_ratio(over, alone))
    finally:
        await connection.close()
    return found


async def connect(url: URL) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=url.host, port=url.port, user=url.username, password=url.password, database=url.database
    )


def _shown(url: URL) -> str:
    where = {"host": str(url.host), "port": str(url.port)}
    return URL.create("postgresql", url.username, database=url.database, query=where).render_as_string()


async def _filled(url: URL, count: int) -> str:
    connection = await connect(url)
    began = time.perf_counter()
    await fill(connection, count)
    seconds = time.perf_counter() - began
    size = await connection.fetchval("SELECT pg_size_pretty(pg_database_size(current_database()))")
    await connection.close()
    return f"{count} clips made in {seconds:.0f} s, {size}"


def run() -> None:
    """Print what was measured. Needs 6 GB of disk below the temporary folder for a million clips."""
    top = Path(tempfile.mkdtemp(prefix="mosic-bench-"))
    top.chmod(0o755)
    print(f"# Catalogue\n\n{machine()}", flush=True)
    smallest: dict[str, tuple[float, float, float]] = {}
    postgres = asyncio.run(open_embedded(top / "postgres"))
    try:
        for count in SIZES:
            name = f"clips_{count}"
            asyncio.run(_create(postgres.url_for("postgres"), name))
            url = postgres.url_for(name)
            with servers.mosic(top / name, MOSIC_DATABASE_URL=_shown(url)) as server:
                # Behind its start: it would not begin on a database with clips and a store without.
                print(f"\n{asyncio.run(_filled(url, count))}", flush=True)
                found = asyncio.run(measure(url, Pages(server.url), ROUNDS))
            smallest = smallest or found
            rows = [
                [
                    case,
                    *(f"{seconds * 1000:.1f}" for seconds in times[:2]),
                    f"{times[2]:.2f}",
                    f"{times[0] / smallest[case][0]:.2f}",
                ]
                for case, times in found.items()
            ]
            head = ("page of 50", "ms", "ms of its SQL alone", "× its SQL", f"× {SIZES[0]} clips")
            print(table(f"{count} clips, medians of {ROUNDS}", head, rows), flush=True)
    finally:
        asyncio.run(postgres.close())
        shutil.rmtree(top, ignore_errors=True)


async def _create(maintenance: URL, name: str) -> None:
    connection = await connect(maintenance)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
