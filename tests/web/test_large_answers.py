"""Large answers: lists have a bound, and who takes nothing of an answer is cut off."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import UUID

import mutagen.id3
import mutagen.wave
import pytest
import sqlalchemy as sa
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support.databases import shown
from tests.support.exchange import exchange, first_answer, head
from tests.support.listeners import Listener
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav
from tests.support.waiting import until

MOST_OF_A_CLIP = 24 * 1024
"""Bytes of one in a list, whatever it carries."""

LONG = {f"long {number}": "ä" * 28_000 for number in range(9)}
PATIENCE = 2.0


# mutagen has types for some of it only.
_id3: Any = mutagen.id3
_wave: Any = mutagen.wave


def tagged(tags: dict[str, str]) -> bytes:
    """An upload with these tags, and three more."""
    file = io.BytesIO(wav(0.1))
    wave = _wave.WAVE(file)
    wave.add_tags()
    for frame in (_id3.TIT2(3, "Song"), _id3.TPE1(3, "Ana"), _id3.TCOM(3, "Clara")):
        wave.tags.add(frame)
    for name, value in tags.items():
        wave.tags.add(_id3.TXXX(3, desc=name, text=value))
    file.seek(0)
    wave.save(file)
    return file.getvalue()


async def add(service: Service, content: bytes) -> dict[str, Any]:
    answer = await service.http.post("/play/upload", content=content, headers=AUTH)
    assert answer.status_code == 201, answer.text
    clip: dict[str, Any] = answer.json()
    return clip


def tags_of(count: int, value: str) -> str:
    """So many, as SQL."""
    return f"(SELECT jsonb_object_agg(n, jsonb_build_array({value})) FROM generate_series(1, {count}) AS n)"  # noqa: S608


async def add_worst(service: Service, count: int, database: URL) -> list[str]:
    """Clips whose texts are as long as clients may make them, of letters of four bytes; and tags beyond."""
    words = dict.fromkeys(("title", "artist", "album", "album_artist", "genre", "date"), "𝄞" * 1000)
    url = "https://example.org/" + "a" * 1900
    body = {**words, "description": "𝄞" * 20_000, "audio_url": url}
    made = [await service.http.post("/play", json=body, headers=AUTH) for _ in range(count)]
    assert {answer.status_code for answer in made} == {201}
    engine = create_async_engine(database)
    async with engine.begin() as connection:
        # An object whose tags are each short enough, and of which as many are kept as there is room for.
        tags = tags_of(200, "repeat(chr(119070), 20)")
        await connection.execute(sa.text(f"UPDATE clips SET tags = {tags}"))  # noqa: S608
    await engine.dispose()
    return [answer.json()["id"] for answer in made]


async def test_a_list_has_no_long_tags_and_the_clip_has_all(service: Service) -> None:
    made = await add(service, tagged(LONG))
    assert made["complete"]
    assert {name: made["tags"][name] for name in LONG} == {name: [text] for name, text in LONG.items()}
    (listed,) = (await service.http.get("/play")).json()
    short = {name: values for name, values in made["tags"].items() if name not in LONG}
    assert listed == {**made, "tags": short, "complete": False}
    assert short["composer"] == ["Clara"]
    assert (await service.http.get(f"/play/{made['id']}")).json() == made
    (found,) = (await service.http.get(f"/play?sha256={made['sha256']}")).json()
    assert found == listed


async def test_an_ordinary_clip_is_the_same_in_a_list(service: Service) -> None:
    made = await add(service, tagged({f"name {number}": "x" * 30 for number in range(20)}))
    words = {"title": "𝄞" * 500, "description": "d" * 500}
    edited = await service.http.patch(f"/play/{made['id']}", json=words, headers=AUTH)
    assert (await service.http.get("/play")).json() == [edited.json()]
    assert edited.json()["complete"]


@pytest.mark.parametrize("name", ["title", "description", "artist", "album", "album_artist", "genre", "date"])
async def test_long_texts_are_cut_in_a_list(service: Service, name: str) -> None:
    made = await add(service, tagged({}))
    text = "𝄞" * 501
    edited = (await service.http.patch(f"/play/{made['id']}", json={name: text}, headers=AUTH)).json()
    assert (edited[name], edited["complete"]) == (text, True)
    (listed,) = (await service.http.get("/play")).json()
    assert listed == {**edited, name: text[:500], "complete": False}


@pytest.mark.parametrize("size", [3900, 4100, 100_000])
async def test_tags_are_left_out_only_where_there_is_no_room(service: Service, size: int) -> None:
    """Also where the database has compressed them to next to nothing."""
    made = await add(service, tagged({"long": '"' * (size // 2)}))
    (listed,) = (await service.http.get("/play")).json()
    assert ("long" in listed["tags"]) == listed["complete"] == (size == 3900)
    assert listed["tags"]["composer"] == ["Clara"]
    assert len(made["tags"]["long"][0]) == size // 2


async def test_a_page_has_a_bound(own_service: Service, database_url: URL) -> None:
    ids = await add_worst(own_service, 20, database_url)
    page = await own_service.http.get("/play?limit=20")
    clips = page.json()
    assert [clip["id"] for clip in clips] == ids[::-1]
    assert len(page.content) <= 20 * MOST_OF_A_CLIP
    for clip in clips:
        # As many tags as have room, not none.
        assert 30 < len(clip["tags"]) < 60
        assert not clip["complete"]
    whole = await own_service.http.get(f"/play/{ids[0]}")
    assert len(whole.content) > 2 * MOST_OF_A_CLIP
    assert len(whole.json()["tags"]) == 200


async def test_the_trash_has_the_same_bound(tmp_path: Path, database_url: URL) -> None:
    async with running_service(tmp_path / "media", shown(database_url), trash_days=7) as service:
        for clip_id in await add_worst(service, 5, database_url):
            assert (await service.http.delete(f"/play/{clip_id}", headers=AUTH)).status_code == 204
        page = await service.http.get("/play?trash=true", headers=AUTH)
        assert [clip["complete"] for clip in page.json()] == [False] * 5
        assert len(page.content) <= 5 * MOST_OF_A_CLIP


@pytest.fixture
async def brief(tmp_path: Path, own_database_url: URL) -> AsyncIterator[Service]:
    """One connection to the database, and little patience."""
    async with running_service(
        tmp_path / "media", shown(own_database_url), answer_idle_seconds=PATIENCE, db_pool_size=1
    ) as running:
        yield running


def connections(port: int) -> int:
    """How many the service has from others than its own test's client, as the kernel sees them."""
    found = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_, inode = line.split()[:10]
        # Established, or closed by the other side and not yet by the service.
        found += local.endswith(f":{port:04X}") and state in ("01", "08") and inode != "0"
    return found


async def large_answers(service: Service, database: URL) -> dict[str, bytes]:
    """Requests of every kind whose answers are larger than what the kernel takes for a client."""
    (clip_id, *_) = await add_worst(service, 60, database)
    engine = create_async_engine(database)
    async with engine.begin() as connection:
        tags = tags_of(100, "repeat('x', 10000)")
        changed = f"tags = {tags}, title = repeat('t', 900000)"
        statement = f"UPDATE clips SET {changed} WHERE id = :id"  # noqa: S608
        await connection.execute(sa.text(statement), {"id": UUID(clip_id)})
    await engine.dispose()
    key = f"X-API-Key: {AUTH['X-API-Key']}"
    edit = b'{"genre": "Jazz"}'
    # Sent again it changes nothing, and so all stay as they are.
    edited = await service.http.patch(f"/play/{clip_id}", content=edit, headers=AUTH)
    assert edited.status_code == 200
    return {
        "a page": head("GET", "/play?limit=60", closing=False),
        "a clip": head("GET", f"/play/{clip_id}", closing=False),
        "the statistics of a clip": head("GET", f"/play/{clip_id}/stats", closing=False),
        "an edited clip": head(
            "PATCH", f"/play/{clip_id}", key, f"Content-Length: {len(edit)}", closing=False
        )
        + edit,
        "a script": head("GET", "/docs/assets/redoc.standalone.js", closing=False),
    }


async def test_who_does_not_take_a_large_answer_is_cut_off(
    brief: Service, own_database_url: URL, caplog: pytest.LogCaptureFixture
) -> None:
    requests = await large_answers(brief, own_database_url)
    whole = {name: await exchange(brief.port, closing(request)) for name, request in requests.items()}
    assert {name: answer.status for name, answer in whole.items()} == dict.fromkeys(requests, 200)
    assert min(len(answer.body) for answer in whole.values()) > 600_000
    # The client of the test keeps its own connection.
    before = connections(brief.port)
    waiting = {
        name: [await Listener.sending(brief, request) for _ in range(3)] for name, request in requests.items()
    }
    for listener in chain(*waiting.values()):
        assert (await listener.read(12)) == b"HTTP/1.1 200"

    async def all_are_cut_off() -> bool:
        return connections(brief.port) <= before

    await until(all_are_cut_off)
    # And they see that it is not all.
    for name, listeners in waiting.items():
        for listener in listeners:
            with suppress(ConnectionResetError):
                await listener.read_to_the_end()
            assert 0 < len(listener.received) < len(whole[name].body), name
    # Nothing of it counts as a fault of the service, which goes on.
    assert (await exchange(brief.port, closing(requests["a page"]))).body == whole["a page"].body
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def closing(request: bytes) -> bytes:
    return request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)


async def test_who_takes_a_large_answer_slowly_gets_all_of_it(brief: Service, own_database_url: URL) -> None:
    requests = await large_answers(brief, own_database_url)
    whole = {name: await exchange(brief.port, closing(request)) for name, request in requests.items()}

    async def take(name: str) -> None:
        listener = await Listener.sending(brief, closing(requests[name]))
        # For longer than the patience of the service, in all.
        for _ in range(25):
            await listener.read(4000)
            await asyncio.sleep(PATIENCE / 20)
        answer, rest = first_answer(await listener.read_to_the_end(), to_head=False)
        assert rest == b""
        assert answer.body == whole[name].body, name

    await asyncio.gather(*(take(name) for name in requests))


async def test_no_connection_to_the_database_is_held_for_who_is_slow(
    tmp_path: Path, own_database_url: URL
) -> None:
    """There is but one of them."""
    async with running_service(tmp_path / "media", shown(own_database_url), db_pool_size=1) as service:
        requests = await large_answers(service, own_database_url)
        slow = [await Listener.sending(service, request) for request in requests.values() for _ in range(3)]
        for listener in slow:
            assert await listener.read(1)
        for _ in range(5):
            assert (await service.http.get("/play?limit=1")).status_code == 200
        for listener in slow:
            listener.reset()
