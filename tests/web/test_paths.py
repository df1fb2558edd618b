"""A path has one spelling, beside a slash at its end: rules of a proxy about it hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.support.clips import add_clip
from tests.support.databases import shown
from tests.support.exchange import head, raw_exchange
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav
from tests.support.spellings import spellings


def same(target: str) -> str:
    """The path that every reader of RFC 3986 sees in the target, without one slash at its end."""
    path = target.partition("#")[0].partition("?")[0]
    if path.lower().startswith("http://"):
        path = path[len("http://mosic.test") :]
    return path.removesuffix("/")


async def test_only_one_spelling_of_a_route_is_answered(service: Service) -> None:
    clip = await add_clip(service)
    document = (await service.http.get("/openapi.json")).json()
    for path in (*document["paths"], "/docs", "/redoc", "/openapi.json", "/api/docs", "/clips"):
        known = path.replace("{clip_id}", clip.id)
        if "{" in known:
            continue
        for target in spellings(known):
            received = await raw_exchange(service.port, head("GET", target))
            status = int(received[9:12])
            if same(target) != known:
                assert 400 <= status < 500, (target, received[:80])
            elif "x=1" not in target and status not in (404, 405):
                # 202: a waveform that is not there yet.
                assert status in (200, 202), (target, received[:80])
    assert (await clip.stats())["play_count"] > 0


async def test_closed_reads_are_closed_in_every_spelling(tmp_path: Path, database_url: URL) -> None:
    async with running_service(
        tmp_path / "media", shown(database_url), require_key_for_reads=True
    ) as service:
        clip = (await service.http.post("/play/upload", content=wav(), headers=AUTH)).json()
        for path in ("/play", "/clips", f"/play/{clip['id']}", f"/play/{clip['id']}/stream"):
            for target in spellings(path):
                received = await raw_exchange(service.port, head("GET", target))
                assert received[9:12] in (b"400", b"401", b"404"), (target, received[:80])


@pytest.mark.parametrize("prefix", ["/play", "/clips", "/api/v1/clips"])
async def test_the_name_of_a_file_may_have_any_characters(service: Service, prefix: str) -> None:
    """`curl -T` adds it to the path, percent-encoded where it has to be."""
    answer = await service.http.put(f"{prefix}/upload/%C3%A4%20%2B%231.wav", content=wav(), headers=AUTH)
    assert answer.status_code == 201
    assert answer.json()["title"] == "\u00e4 +#1"
    odd = f"{prefix[:-1]}%{ord(prefix[-1]):02x}/upload/a.wav"
    assert (await service.http.put(odd, content=wav(), headers=AUTH)).status_code == 404
