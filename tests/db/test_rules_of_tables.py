"""What the tables refuse whoever writes to them, and that a database with such rows still migrates."""

from __future__ import annotations

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from mosic.db.engine import create_engine
from mosic.db.migrate import is_current, migrate, move_to

CLIP = {
    "id": "gen_random_uuid()",
    "title": "'t'",
    "blob_key": f"'{'5b' * 16}'",
    "size": "6",
    "sha256": "sha256('x')",
    "media_type": "'audio/mpeg'",
}
EXTERNAL = {"id": "gen_random_uuid()", "title": "'t'", "external_url": "'https://example.org/a.mp3'"}

REFUSED = {
    "a page instead of audio": CLIP | {"media_type": "'text/html'"},
    "a media type with a line break": CLIP | {"media_type": "E'audio/mpeg\\r\\nSet-Cookie: a=b'"},
    "a media type with a line break at its end": CLIP | {"media_type": "E'audio/mpeg\\n'"},
    "a media type with parameters": CLIP | {"media_type": "'audio/mpeg; x=y'"},
    "no media type": CLIP | {"media_type": "''"},
    "a negative size": CLIP | {"size": "-1"},
    "half a hash": CLIP | {"sha256": "'\\x00'"},
    "a path for a key": CLIP | {"blob_key": "'../../../../../etc/passwd'"},
    "a key in capitals": CLIP | {"blob_key": f"'{'5B' * 16}'"},
    "a script for an address": EXTERNAL | {"external_url": "'javascript:alert(1)'"},
    "a file for an address": EXTERNAL | {"external_url": "'file:///etc/passwd'"},
    "an address with a line break": EXTERNAL | {"external_url": "E'https://example.org/\\r\\nX: y'"},
    "a negative duration": CLIP | {"duration": "-1"},
    "an endless duration": CLIP | {"duration": "'Infinity'"},
    "a duration that is no number": CLIP | {"duration": "'NaN'"},
    "a negative bit rate": CLIP | {"bitrate": "-1"},
    "a negative rate": CLIP | {"sample_rate": "-1"},
    "negative channels": CLIP | {"channels": "-1"},
    "a negative track": CLIP | {"track_number": "-1"},
    "a negative disc": CLIP | {"disc_number": "-1"},
    "no revision": CLIP | {"revision": "0"},
    "tags that are a list": CLIP | {"tags": "'[]'"},
}


def insert(values: dict[str, str]) -> sa.TextClause:
    columns, row = ", ".join(values), ", ".join(values.values())
    statement = f"INSERT INTO clips ({columns}) VALUES ({row})"  # noqa: S608
    return sa.text(statement.replace(":", r"\:"))


@pytest.mark.parametrize("values", REFUSED.values(), ids=REFUSED)
async def test_refused_by_the_table(database_url: URL, values: dict[str, str]) -> None:
    engine = create_engine(database_url, pool_size=1)
    with pytest.raises(DBAPIError) as refused:
        await execute(engine, insert(values))
    assert isinstance(refused.value.orig, Exception)
    assert getattr(refused.value.orig, "sqlstate", None) == asyncpg.CheckViolationError.sqlstate
    async with engine.begin() as connection:
        for good in (CLIP, EXTERNAL):
            await connection.execute(insert(good))
    await engine.dispose()


async def test_a_service_is_one_row(database_url: URL) -> None:
    engine = create_engine(database_url, pool_size=1)
    insert_one = sa.text("INSERT INTO service DEFAULT VALUES")
    async with engine.begin() as connection:
        await connection.execute(insert_one)
    for statement in (insert_one, sa.text("INSERT INTO service (singleton) VALUES (false)")):
        with pytest.raises(DBAPIError):
            await execute(engine, statement)
    await engine.dispose()


async def execute(engine: AsyncEngine, statement: sa.TextClause) -> None:
    async with engine.begin() as connection:
        await connection.execute(statement)


async def test_rows_from_before_are_mended_or_left(empty_database_url: URL) -> None:
    """What can be unknown becomes so; what cannot stays, and does not keep a service from starting."""
    engine = create_engine(empty_database_url, pool_size=1)
    async with engine.begin() as connection:
        await move_to(connection, "0006")
        odd = {"duration": "'NaN'", "bitrate": "-1", "revision": "-3", "media_type": "'text/html'"}
        await connection.execute(insert(CLIP | odd))
        await connection.execute(insert(EXTERNAL | {"external_url": "'ftp://example.org/a'"}))
        await connection.execute(
            sa.text("INSERT INTO clip_plays (clip_id, play_count) SELECT id, -7 FROM clips")
        )
    await migrate(engine)
    assert await is_current(engine)
    async with engine.begin() as connection:
        (mended,) = await connection.execute(
            sa.text("SELECT media_type, duration, bitrate, revision FROM clips WHERE blob_key IS NOT NULL")
        )
        assert tuple(mended) == ("application/octet-stream", None, None, 1)
        assert await connection.scalar(sa.text("SELECT max(play_count) FROM clip_plays")) == 0
        kept = "SELECT external_url FROM clips WHERE blob_key IS NULL"
        assert await connection.scalar(sa.text(kept)) == "ftp://example.org/a"
        unproved = "SELECT conname FROM pg_constraint WHERE NOT convalidated"
        assert (await connection.scalars(sa.text(unproved))).all() == ["ck_clips_external_url"]
    with pytest.raises(DBAPIError):
        await execute(engine, insert(EXTERNAL | {"external_url": "'ftp://example.org/b'"}))
    await engine.dispose()
