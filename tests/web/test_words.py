"""What people say about a clip, whichever way it comes in: no control characters, none that reorder text."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.service import AUTH, Service
from tests.support.sounds import wav

HOSTILE = "\u202eexe.gnos\u202c \x1b[31mred\x07 two\r\nlines"
CLEAN = "exe.gnos [31mred two lines"
CLEAN_PROSE = "exe.gnos [31mred two\nlines"
WORDS = dict.fromkeys(("title", "artist", "album", "album_artist", "genre", "description"), HOSTILE)


async def by_form(service: Service) -> Any:
    answer = await service.http.post(
        "/play/upload", files={"file": ("a.wav", wav(0.1))}, data=WORDS, headers=AUTH
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


async def by_query(service: Service) -> Any:
    headers = {**AUTH, "Content-Type": "audio/wav"}
    answer = await service.http.post("/play/upload", content=wav(0.1), params=WORDS, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def by_json(service: Service) -> Any:
    answer = await service.http.post(
        "/play", json={**WORDS, "audio_url": "https://93.184.215.14/a.mp3"}, headers=AUTH
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


async def by_patch(service: Service) -> Any:
    made = await service.http.post("/play/upload", files={"file": ("a.wav", wav(0.1))}, headers=AUTH)
    answer = await service.http.patch(f"/play/{made.json()['id']}", json=WORDS, headers=AUTH)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def by_tus(service: Service) -> Any:
    content = wav(0.1)
    metadata = ",".join(f"{name} {base64.b64encode(text.encode()).decode()}" for name, text in WORDS.items())
    answer = await service.http.post(
        "/play/uploads",
        content=content,
        headers={
            **AUTH,
            "Tus-Resumable": "1.0.0",
            "Upload-Length": str(len(content)),
            "Upload-Metadata": metadata,
            "Content-Type": "application/offset+octet-stream",
        },
    )
    assert answer.status_code == 201, answer.text
    return (await service.http.get(answer.headers["content-location"])).json()


@pytest.mark.parametrize("way", [by_form, by_query, by_json, by_patch, by_tus])
async def test_words_are_cleaned_by_every_way_in(
    service: Service, way: Callable[[Service], Awaitable[Any]]
) -> None:
    clip = await way(service)
    assert {name: clip[name] for name in WORDS} == {
        **dict.fromkeys(WORDS, CLEAN),
        "description": CLEAN_PROSE,
    }


async def test_a_file_name_that_becomes_a_title_is_cleaned_too(service: Service) -> None:
    answer = await service.http.post(
        "/play/upload", files={"file": ("\u202e3pm\u2066 song.wav", wav(0.1))}, headers=AUTH
    )
    assert answer.json()["title"] == "3pm song"


async def test_a_title_of_which_nothing_is_left_is_none(service: Service) -> None:
    nothing = "\u202e\x07 "
    made = (
        await service.http.post(
            "/play/upload",
            files={"file": ("name.wav", wav(0.1))},
            data={"title": nothing, "artist": nothing},
            headers=AUTH,
        )
    ).json()
    assert (made["title"], made["artist"]) == ("name", None)
    answer = await service.http.patch(f"/play/{made['id']}", json={"title": nothing}, headers=AUTH)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
    assert (await service.http.get(f"/play/{made['id']}")).json() == made


@pytest.mark.parametrize("members", [20_000, 101])
@pytest.mark.parametrize("route", ["patch", "post"])
async def test_a_body_of_many_members_gets_a_short_answer(service: Service, members: int, route: str) -> None:
    made = await service.http.post("/play/upload", files={"file": ("a.wav", wav(0.1))}, headers=AUTH)
    body = json.dumps({f"m{number}": 0 for number in range(members)})
    url = f"/play/{made.json()['id']}" if route == "patch" else "/play"
    answer = await service.http.request(
        route.upper(), url, content=body, headers={**AUTH, "Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
    assert len(answer.content) < 4096


async def test_wrong_members_are_named_up_to_a_bound(service: Service) -> None:
    made = await service.http.post("/play/upload", files={"file": ("a.wav", wav(0.1))}, headers=AUTH)
    url = f"/play/{made.json()['id']}"
    two = (await service.http.patch(url, json={"one": 1, "two": 2}, headers=AUTH)).json()
    assert [error["loc"] for error in two["errors"]] == [["body", "one"], ["body", "two"]]
    many = await service.http.patch(url, json={f"m{n}": 1 for n in range(90)}, headers=AUTH)
    assert len(many.json()["errors"]) == 20
    assert "and 89 more" in many.json()["detail"]
    long = await service.http.patch(url, json={"x" * 100_000: 1}, headers=AUTH)
    assert (long.status_code, long.json()["code"]) == (422, "invalid-request")
    assert long.json()["errors"][0]["loc"][1].startswith("xxx")
    for answer in (many, long):
        assert len(answer.content) < 4096


async def test_every_refusal_is_short_whatever_was_sent(service: Service) -> None:
    """Names and values that a request chose are quoted in part only."""
    name = "n" * 7000
    pair = f"{name} {base64.b64encode(b'a').decode()}"
    tus = {**AUTH, "Tus-Resumable": "1.0.0", "Upload-Length": "1"}
    answers = [
        await service.http.post("/play/uploads", headers={**tus, "Upload-Metadata": f"{name} ###"}),
        await service.http.post("/play/uploads", headers={**tus, "Upload-Metadata": f"k a,{pair}"}),
        await service.http.get("/play", params={"limit": "x" * 7000}),
        await service.http.get("/play", params={"cursor": "x" * 7000}),
        await service.http.get(f"/play/{'x' * 7000}"),
        await service.http.post(
            "/play/upload", files={name: (None, "x" * 70_000), "file": ("a.wav", b"")}, headers=AUTH
        ),
        await service.http.post(
            "/play", json={"title": "a", "audio_url": f"https://{'x' * 1900}/"}, headers=AUTH
        ),
        await service.http.post("/play", content=b"", headers={**AUTH, "Content-Type": f"a/{name}"}),
    ]
    for answer in answers:
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert len(answer.content) < 4096, answer.text[:200]
