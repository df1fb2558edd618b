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

KEY = f"'{'5b' * 16}'"
BLOB = {"key": KEY, "size": "6", "sha256": "sha256('x')", "media_type": "'audio/mpeg'"}
CLIP = {"id": "gen_random_uuid()", "title": "'t'", "blob_key": KEY}
EXTERNAL = {"id": "gen_random_uuid()", "title": "'t'", "external_url": "'https://example.org/a.mp3'"}
# Before there were blobs.
OLD_CLIP = CLIP | {name: value for name, value in BLOB.items() if name != "key"}

REFUSED_BLOBS = {
    "a page instead of audio": {"media_type": "'text/html'"},
    "a media type with a line break": {"media_type": "E'audio/mpeg\\r\\nSet-Cookie: a=b'"},
    "a media type with a line break at its end": {"media_type": "E'audio/mpeg\\n'"},
    "a media type with parameters": {"media_type": "'audio/mpeg; x=y'"},
    "no media type": {"media_type": "''"},
    "a negative size": {"size": "-1"},
    "half a hash": {"sha256": "'\\x00'"},
    "a path for a key": {"key": "'../../../../../etc/passwd'"},
    "a key in capitals": {"key": f"'{'5B' * 16}'"},
}
REFUSED_CLIPS = {
    "a script for an address": EXTERNAL | {"external_url": "'javascript:alert(1)'"},
    "a file for an address": EXTERNAL | {"external_url": "'file:///etc/passwd'"},
    "an address with a line break": EXTERNAL | {"external_url": "E'https://example.org/\\r\\nX: y'"},
    "a page elsewhere": EXTERNAL | {"media_type": "'text/html'"},
    "a media type besides that of its blob": CLIP | {"media_type": "'audio/mpeg'"},
    "a blob and an address": CLIP | EXTERNAL,
    "neither": {"id": "gen_random_uuid()", "title": "'t'"},
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


def insert(values: dict[str, str], table: str = "clips") -> sa.TextClause:
    columns, row = ", ".join(values), ", ".join(values.values())
    statement = f"INSERT INTO {table} ({columns}) VALUES ({row})"  # noqa: S608
    return sa.text(statement.replace(":", r"\:"))


async def refused(engine: AsyncEngine, statement: sa.TextClause) -> str | None:
    """The SQLSTATE."""
    with pytest.raises(DBAPIError) as error:
        await execute(engine, statement)
    return getattr(error.value.orig, "sqlstate", None)


@pytest.mark.parametrize("values", REFUSED_BLOBS.values(), ids=REFUSED_BLOBS)
async def test_a_blob_refused_by_the_table(database_url: URL, values: dict[str, str]) -> None:
    engine = create_engine(database_url, pool_size=1)
    assert await refused(engine, insert(BLOB | values, "blobs")) == asyncpg.CheckViolationError.sqlstate
    await execute(engine, insert(BLOB, "blobs"))
    await engine.dispose()


@pytest.mark.parametrize("values", REFUSED_CLIPS.values(), ids=REFUSED_CLIPS)
async def test_a_clip_refused_by_the_table(database_url: URL, values: dict[str, str]) -> None:
    engine = create_engine(database_url, pool_size=1)
    await execute(engine, insert(BLOB, "blobs"))
    assert await refused(engine, insert(values)) == asyncpg.CheckViolationError.sqlstate
    for good in (CLIP, EXTERNAL):
        await execute(engine, insert(good))
    await engine.dispose()


async def test_no_two_blobs_have_the_same_bytes_and_no_two_clips_the_same_blob(database_url: URL) -> None:
    engine = create_engine(database_url, pool_size=1)
    await execute(engine, insert(BLOB, "blobs"))
    await execute(engine, insert(CLIP))
    twice = asyncpg.UniqueViolationError.sqlstate
    assert await refused(engine, insert(BLOB | {"key": f"'{'6c' * 16}'"}, "blobs")) == twice
    assert await refused(engine, insert(CLIP)) == twice
    await engine.dispose()


async def test_a_clip_has_its_blob_and_a_blob_that_is_needed_stays(database_url: URL) -> None:
    engine = create_engine(database_url, pool_size=1)
    missing = asyncpg.ForeignKeyViolationError.sqlstate
    assert await refused(engine, insert(CLIP)) == missing
    await execute(engine, insert(BLOB, "blobs"))
    await execute(engine, insert(CLIP))
    assert await refused(engine, sa.text("DELETE FROM blobs")) == missing
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
        await connection.execute(insert(OLD_CLIP | odd))
        await connection.execute(insert(EXTERNAL | {"external_url": "'ftp://example.org/a'"}))
        await connection.execute(
            sa.text("INSERT INTO clip_plays (clip_id, play_count) SELECT id, -7 FROM clips")
        )
    await migrate(engine)
    assert await is_current(engine)
    async with engine.begin() as connection:
        (mended,) = await connection.execute(
            sa.text(
                "SELECT blobs.media_type, duration, bitrate, revision FROM clips JOIN blobs ON key = blob_key"
            )
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
