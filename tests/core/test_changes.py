"""Two processes on one database: what one edits or removes, the other knows, also while it is told nothing.

Each runtime stands for a process: it has its own cache and its own connection on which it is told of changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from mosic.core.catalog import add_external, edit_clip, remove_clip
from mosic.core.facts import BlobFacts
from mosic.core.runtime import Runtime
from mosic.core.stream import open_stream
from mosic.db.clips import Clip
from mosic.errors import ClipNotFound
from mosic.postgres import EmbeddedPostgres
from mosic.wire.retrieval import Retrieval
from tests.support.service import open_files
from tests.support.sounds import wav
from tests.support.stores import Open, upload

_LISTENERS = "SELECT pid FROM pg_stat_activity WHERE datname = :name AND query = 'SELECT pg_notify($1, $2)'"


class Telling:
    """What the database tells of changes, and to how many."""

    def __init__(self, server: EmbeddedPostgres, name: str) -> None:
        self._server, self._name = server, name

    async def _execute(self, statement: str) -> list[int]:
        engine = create_async_engine(self._server.url_for("postgres"), isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            found = await connection.execute(sa.text(statement).bindparams(name=self._name))
            rows = list(found.scalars()) if found.returns_rows else []
        await engine.dispose()
        return rows

    async def end(self) -> set[int]:
        """Cut every connection on which changes are told; says which."""
        listeners = set(await self._execute(_LISTENERS))
        assert len(listeners) == 2
        await self._execute(_LISTENERS.replace("pid", "pg_terminate_backend(pid)::int", 1))
        return listeners

    async def begins_again(self, ended: set[int]) -> None:
        async with asyncio.timeout(60):
            while len(set(await self._execute(_LISTENERS)) - ended) < 2:
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def ended(self) -> AsyncIterator[None]:
        """Nobody can connect anew, so that those who were told of changes are not for as long as this lasts.
        Connections that there are go on."""
        await self._allow_connections(False)
        try:
            await self.end()
            yield
        finally:
            await self._allow_connections(True)

    async def _allow_connections(self, allowed: bool) -> None:
        engine = create_async_engine(self._server.url_for("postgres"), isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.execute(sa.text(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS {allowed}"))
        await engine.dispose()


@pytest.fixture
async def telling(postgres: EmbeddedPostgres, database_url: URL) -> Telling:
    assert database_url.database
    return Telling(postgres, database_url.database)


@pytest.fixture
async def other(open_rt: Open) -> AsyncIterator[Runtime]:
    async with open_rt() as runtime:
        yield runtime


async def listen(rt: Runtime, clip: Clip, method: str = "HEAD") -> dict[str, str]:
    async with await open_stream(rt, str(clip.id), Retrieval(method)) as stream:
        return {name.decode(): value.decode() for name, value in stream.headers}


async def name_told(rt: Runtime, clip: Clip) -> str:
    return (await listen(rt, clip))["content-disposition"]


async def soon(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.005)


async def test_an_edit_is_seen_by_the_editor_at_once_and_by_others_soon(rt: Runtime, other: Runtime) -> None:
    clip = await upload(rt, wav())
    await listen(rt, clip)
    await listen(other, clip)
    await edit_clip(rt, clip.id, {"title": "another"})
    assert "another" in await name_told(rt, clip)

    async def other_knows() -> bool:
        return "another" in await name_told(other, clip)

    await soon(other_knows)


async def test_a_removed_clip_is_served_by_nobody(rt: Runtime, other: Runtime) -> None:
    """From the moment that its removal is answered, without waiting for anybody to be told."""
    for seed in range(30):
        clip = await upload(rt, wav(seed=seed))
        for one in (rt, other):
            await listen(one, clip, "GET")
        await remove_clip(rt, clip.id)
        for one in (other, rt):
            for method in ("GET", "HEAD"):
                with pytest.raises(ClipNotFound):
                    await listen(one, clip, method)


async def test_a_removed_external_clip_is_served_by_nobody(open_rt: Open) -> None:
    settings = {"remote_stream": "redirect", "remote_allow_private": True}
    async with open_rt(**settings) as rt, open_rt(**settings) as other:
        for number in range(30):
            clip, _ = await add_external(rt, url=f"http://127.0.0.1:8009/{number}.mp3", title="a")
            assert (await listen(other, clip))["location"].endswith(f"/{number}.mp3")
            await remove_clip(rt, clip.id)
            for one in (other, rt):
                with pytest.raises(ClipNotFound):
                    await listen(one, clip)


async def test_a_removed_clips_file_is_let_go_of_everywhere(
    rt: Runtime, other: Runtime, tmp_path: Path
) -> None:
    clip = await upload(rt, wav())
    for one in (rt, other):
        await listen(one, clip)
    assert len(open_blobs(tmp_path)) == 2
    await remove_clip(rt, clip.id)

    async def is_let_go() -> bool:
        return not open_blobs(tmp_path)

    await soon(is_let_go)


def open_blobs(folder: Path) -> list[str]:
    return [path for path in open_files(folder) if "/blobs/" in path]


async def test_while_nothing_is_told_edits_and_removals_are_seen_all_the_same(
    rt: Runtime, other: Runtime, telling: Telling
) -> None:
    edited, removed, added = [await upload(rt, wav(seed=seed)) for seed in range(3)]
    for clip in (edited, removed):
        for one in (rt, other):
            await listen(one, clip)
    async with telling.ended():
        await soon(lambda: is_in_doubt(other, edited))
        await edit_clip(rt, edited.id, {"title": "another"})
        assert "another" in await name_told(other, edited)
        await remove_clip(rt, removed.id)
        with pytest.raises(ClipNotFound):
            await listen(other, removed)
        assert await listen(other, added)
    for one in (rt, other):
        await soon(lambda one=one: is_sure(one, edited))  # type: ignore[misc]
        assert "another" in await name_told(one, edited)


async def test_a_removal_just_when_the_connection_breaks_is_seen(
    rt: Runtime, other: Runtime, telling: Telling
) -> None:
    for seed in range(10):
        clip = await upload(rt, wav(seed=seed))
        await listen(other, clip)
        ended = await telling.end()
        await remove_clip(rt, clip.id)
        with pytest.raises(ClipNotFound):
            await listen(other, clip)
        await telling.begins_again(ended)


async def test_what_was_missed_is_known_once_told_again(
    rt: Runtime, other: Runtime, telling: Telling
) -> None:
    clip = await upload(rt, wav())
    for number in range(5):
        await soon(lambda: is_sure(other, clip))
        ended = await telling.end()
        await edit_clip(rt, clip.id, {"title": f"name {number}"})
        await telling.begins_again(ended)
        await soon(lambda: is_sure(other, clip))
        assert f"name {number}" in await name_told(other, clip)


async def is_sure(rt: Runtime, clip: Clip) -> bool:
    return isinstance(await rt.facts.get(clip.id), BlobFacts) and rt.facts.known(str(clip.id)) is not None


async def is_in_doubt(rt: Runtime, clip: Clip) -> bool:
    return rt.facts.known(str(clip.id)) is None
