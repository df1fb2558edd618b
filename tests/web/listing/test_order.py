"""Every order is total, and pages neither repeat nor miss a clip while others come, go and change."""

from __future__ import annotations

import asyncio
import random
import unicodedata
from typing import Any

import asyncpg
import pytest

from tests.support.service import AUTH, Service, running_service

NAMES = ["title", "artist", "album", "genre"]
WORDS = [
    "Zebra",
    "apple",
    "Äpfel",
    "éclair",
    "Éclair",
    "東京",
    "élan",
    "b",
    "B",
    "10",
    "9",
    "ß",
    "ss",
    None,
    None,
]


async def add(service: Service, chance: random.Random) -> dict[str, Any]:
    words = {name: chance.choice(WORDS) for name in NAMES}
    words["title"] = words["title"] or "Untitled"
    body = {**words, "audio_url": "http://8.8.8.8/x", "duration": chance.choice([None, 1, 2, 2.5])}
    answer = await service.http.post("/play", json=body, headers=AUTH)
    assert answer.status_code == 201
    clip: dict[str, Any] = answer.json()
    return clip


def key(clip: dict[str, Any], name: str) -> Any:
    """By which people order it; the words here need no more than marks, case and ß folded."""
    value = clip[name]
    if value is None or name not in NAMES:
        return value
    marked = unicodedata.normalize("NFD", value.casefold())
    return "".join(letter for letter in marked if not unicodedata.combining(letter))


def sorted_by(clips: list[dict[str, Any]], sort: str) -> list[str]:
    name, reverse = sort.removeprefix("-"), sort.startswith("-")
    valued = [clip for clip in clips if clip.get(name) is not None]
    empty = [clip for clip in clips if clip.get(name) is None]
    valued.sort(key=lambda clip: (key(clip, name), clip["id"]), reverse=reverse)
    empty.sort(key=lambda clip: clip["id"], reverse=reverse)
    return [clip["id"] for clip in (*valued, *empty)]


async def pages(service: Service, query: str, between: Any = None) -> list[str]:
    seen: list[str] = []
    url = f"/play?{query}"
    while url:
        answer = await service.http.get(url)
        assert answer.status_code == 200, answer.text
        seen += [clip["id"] for clip in answer.json()]
        url = answer.links["next"]["url"] if "next" in answer.links else ""
        if url and between is not None:
            await between()
    return seen


SORTS = [*NAMES, "created_at", "updated_at", "duration", "size", "play_count", "last_played_at"]


async def test_every_order_is_that_of_people(service: Service) -> None:
    chance = random.Random(1)
    for _ in range(60):
        await add(service, chance)
    clips = (await service.http.get("/play?limit=500")).json()
    assert len(clips) == 60
    for name in SORTS:
        for sort in (name, f"-{name}"):
            if name != "last_played_at":
                assert await pages(service, f"sort={sort}&limit=7") == sorted_by(clips, sort), sort
            assert len(set(await pages(service, f"sort={sort}&limit=11"))) == 60, sort
    assert await pages(service, "limit=13") == sorted_by(clips, "-created_at")


@pytest.mark.parametrize("seed", range(4))
async def test_what_stays_is_seen_once_whatever_else_changes(service: Service, seed: int) -> None:
    """The clips that nobody touches while somebody pages."""
    chance = random.Random(seed)
    for _ in range(40):
        await add(service, chance)
    for sort in chance.sample([*SORTS, *(f"-{name}" for name in SORTS)], 5):
        before = (await service.http.get("/play?limit=500")).json()
        ids = [clip["id"] for clip in before]
        chance.shuffle(ids)
        victims = ids[:12]
        touched: set[str] = set()

        async def change(victims: list[str] = victims, touched: set[str] = touched) -> None:
            await add(service, chance)
            if not victims:
                return
            victim = victims.pop()
            touched.add(victim)
            if chance.random() < 0.4:
                answer = await service.http.delete(f"/play/{victim}", headers=AUTH)
                assert answer.status_code == 204
            else:
                edit = {"title": chance.choice(WORDS[:13]), "artist": chance.choice(WORDS)}
                answer = await service.http.patch(f"/play/{victim}", json=edit, headers=AUTH)
                assert answer.status_code == 200

        seen = await pages(service, f"sort={sort}&limit={chance.choice([3, 5, 8])}", change)
        stayed = [clip for clip in before if clip["id"] not in touched]
        kept = {clip["id"] for clip in stayed}
        assert [one for one in seen if one in kept] == sorted_by(stayed, sort), sort


async def fill(service: Service, count: int) -> None:
    """So many clips at once, as a backup brings them: not yet made findable."""
    url = service.settings.database_url_override
    assert url
    connection = await asyncpg.connect(url.get_secret_value())
    await connection.execute(
        "WITH made AS (INSERT INTO clips (id, title, external_url)"
        " SELECT gen_random_uuid(), 'Sång ' || number, 'http://8.8.8.8/x'"
        " FROM generate_series(1, $1::int) AS number RETURNING id)"
        " INSERT INTO clip_plays (clip_id) SELECT id FROM made",
        count,
    )
    await connection.close()


async def test_a_total_is_exact_up_to_a_bound_and_then_left_out(service: Service) -> None:
    await fill(service, 10_000)
    answer = await service.http.get("/play?limit=2")
    assert answer.headers["x-total-count"] == "10000"
    await fill(service, 1)
    answer = await service.http.get("/play?limit=2")
    assert "x-total-count" not in answer.headers
    assert "next" in answer.links


async def test_clips_that_came_without_their_searched_text_get_it(own_service: Service) -> None:
    await fill(own_service, 1001)
    assert (await own_service.http.get("/play?q=sang")).json() == []
    url = own_service.settings.database_url_override
    assert url
    async with running_service(own_service.settings.media_root, url.get_secret_value()) as again:
        async with asyncio.timeout(120):
            # 1,001 are more than a search counts.
            while "x-total-count" in (answer := await again.http.get("/play?q=sang&limit=1")).headers:
                await asyncio.sleep(0.1)
        assert "next" in answer.links
        answer = await again.http.get("/play?q=sang+1000")
        assert [clip["title"] for clip in answer.json()] == ["Sång 1000"]
        assert answer.headers["x-total-count"] == "1"
        titles = [clip["title"] for clip in (await again.http.get("/play?sort=title&limit=2")).json()]
        assert titles == ["Sång 1", "Sång 10"]
