"""`external_id` and `metadata`: an app's own key and data, by every way of adding and editing a clip."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import URL

from tests.support.databases import shown
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav

DATA = {"mood": "calm", "deep": {"list": [1, 2.5, None, True], "ключ": "値"}}
AUDIO_URL = "https://93.184.215.14/a.mp3"
Add = Callable[..., Awaitable[httpx.Response]]


async def by_form(service: Service, key: str, seed: int, data: Any = None) -> httpx.Response:
    fields = {"external_id": key} | ({} if data is None else {"metadata": json.dumps(data)})
    files = {"file": ("a.wav", wav(0.1, seed=seed))}
    return await service.http.post("/play/upload", files=files, data=fields, headers=AUTH)


async def by_query(service: Service, key: str, seed: int, data: Any = None) -> httpx.Response:
    fields = {"external_id": key} | ({} if data is None else {"metadata": json.dumps(data)})
    return await service.http.put("/play/upload", content=wav(0.1, seed=seed), params=fields, headers=AUTH)


async def by_tus(service: Service, key: str, seed: int, data: Any = None) -> httpx.Response:
    content = wav(0.1, seed=seed)
    fields = {"external_id": key} | ({} if data is None else {"metadata": json.dumps(data)})
    metadata = ",".join(f"{name} {base64.b64encode(text.encode()).decode()}" for name, text in fields.items())
    headers = {
        **AUTH,
        "Tus-Resumable": "1.0.0",
        "Upload-Length": str(len(content)),
        "Upload-Metadata": metadata,
        "Content-Type": "application/offset+octet-stream",
    }
    answer = await service.http.post("/play/uploads", content=content, headers=headers)
    if answer.status_code == 201:
        return await service.http.get(answer.headers["content-location"])
    return answer


async def by_json(service: Service, key: str, seed: int, data: Any = None) -> httpx.Response:
    body = {"title": "x", "audio_url": f"{AUDIO_URL}?{seed}", "external_id": key}
    return await service.http.post("/play", json=body | ({"metadata": data} if data else {}), headers=AUTH)


async def patch(service: Service, clip: Any, body: Any) -> httpx.Response:
    return await service.http.patch(f"/play/{clip['id']}", json=body, headers=AUTH)


WAYS = [by_form, by_query, by_tus, by_json]


@pytest.mark.parametrize("add", WAYS)
async def test_both_are_set_by_every_way_in(service: Service, add: Add) -> None:
    clip = (await add(service, "app-1", 1, DATA)).json()
    assert (clip["external_id"], clip["metadata"]) == ("app-1", DATA)
    assert (await service.http.get(f"/play/{clip['id']}")).json()["metadata"] == DATA
    [listed] = (await service.http.get("/play")).json()
    assert (listed["external_id"], listed["metadata"], listed["complete"]) == ("app-1", DATA, True)


async def test_without_them_they_are_null_and_empty(service: Service) -> None:
    clip = (await service.http.put("/play/upload", content=wav(0.1), headers=AUTH)).json()
    assert (clip["external_id"], clip["metadata"]) == (None, {})


@pytest.mark.parametrize("first", WAYS)
@pytest.mark.parametrize("second", WAYS)
async def test_other_bytes_are_refused_with_the_clip_that_has_the_key(
    service: Service, first: Add, second: Add
) -> None:
    clip = (await first(service, "app-2", 1)).json()
    files = service.files()
    answer = await second(service, "app-2", 2)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "external-id-taken")
    assert problem["clip_id"] == clip["id"]
    assert (await service.http.get(problem["clip_url"])).json()["id"] == clip["id"]
    assert service.files() == files
    assert len((await service.http.get("/play")).json()) == 1


@pytest.mark.parametrize("add", [by_form, by_query, by_json])
async def test_the_same_again_is_the_same_clip(service: Service, add: Add) -> None:
    clip = (await add(service, "app-3", 1, DATA)).json()
    again = await add(service, "app-3", 1, DATA)
    assert (again.status_code, again.json()["id"]) == (200, clip["id"])
    assert "mosic-ignored-fields" not in again.headers


async def test_the_same_bytes_with_another_key_and_other_data_keep_theirs(service: Service) -> None:
    clip = (await by_query(service, "app-4", 1, {"a": 1})).json()
    again = await by_query(service, "app-5", 1, {"a": True})
    assert (again.status_code, again.json()) == (200, clip)
    assert again.headers["mosic-ignored-fields"] == "external_id, metadata"


async def test_of_two_at_once_one_wins_and_nothing_stays_of_the_others(service: Service) -> None:
    for round_ in range(5):
        answers = await asyncio.gather(
            *(by_query(service, f"race-{round_}", 10 * round_ + seed) for seed in range(4)),
        )
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
        [made] = [answer.json()["id"] for answer in answers if answer.status_code == 201]
        assert {answer.json()["clip_id"] for answer in answers if answer.status_code == 409} == {made}
    # Its works wait elsewhere: here are the bytes of clips alone.
    sizes = {path.stat().st_size for path in service.files()}
    assert len([path for path in service.files() if path.stat().st_size == len(wav(0.1))]) == 5, sizes


async def test_a_raw_upload_is_refused_before_its_bytes_when_they_must_be_others(service: Service) -> None:
    clip = (await by_query(service, "app-6", 1)).json()
    digest = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    head = (
        "PUT /play/upload?external_id=app-6 HTTP/1.1\r\nHost: localhost\r\nX-API-Key: test-key\r\n"
        f"Repr-Digest: sha-256=:{digest}:\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n"
        "Connection: close\r\n\r\n"
    )
    said = await service.raw(head.encode())
    assert said.startswith(b"HTTP/1.1 409 ")
    assert clip["id"].encode() in said


async def test_a_clip_in_the_trash_keeps_its_key(tmp_path: Path, database_url: URL) -> None:
    async with running_service(tmp_path / "media", shown(database_url), trash_days=7) as service:
        clip = (await by_query(service, "app-7", 1)).json()
        await service.http.delete(f"/play/{clip['id']}", headers=AUTH)
        refused = await by_query(service, "app-7", 2)
        assert (refused.status_code, refused.json()["clip_id"]) == (409, clip["id"])
        restored = await service.http.post(f"/play/{clip['id']}/restore", headers=AUTH)
        assert restored.json()["external_id"] == "app-7"


async def test_the_key_is_edited_and_freed(service: Service) -> None:
    one = (await by_query(service, "app-8", 1)).json()
    two = (await by_query(service, "app-9", 2)).json()
    refused = await patch(service, two, {"external_id": "app-8", "title": "no"})
    assert (refused.status_code, refused.json()["clip_id"]) == (409, one["id"])
    assert (await service.http.get(f"/play/{two['id']}")).json() == two
    assert (await patch(service, one, {"external_id": None})).json()["external_id"] is None
    assert (await patch(service, two, {"external_id": "app-8"})).json()["external_id"] == "app-8"


async def test_other_bytes_by_put_keep_both(service: Service) -> None:
    clip = (await by_query(service, "app-10", 1, DATA)).json()
    url = f"/play/{clip['id']}/audio"
    changed = (await service.http.put(url, content=wav(0.1, seed=2), headers=AUTH)).json()
    assert (changed["external_id"], changed["metadata"]) == ("app-10", DATA)


# RFC 7396, appendix A, where the result is an object.
@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": 1}, None, {}),
        ({"a": 1}, {"a": True}, {"a": True}),
    ],
)
async def test_metadata_is_merged_as_rfc_7396_says(
    service: Service, before: Any, change: Any, after: Any
) -> None:
    clip = (await by_query(service, "app-11", 1, before)).json()
    edited = await patch(service, clip, {"metadata": change})
    assert (edited.status_code, edited.json()["metadata"]) == (200, after)
    # Unlike in Python, true is not 1.
    assert json.dumps(edited.json()["metadata"], sort_keys=True) == json.dumps(after, sort_keys=True)
    assert edited.json()["updated_at"] > clip["updated_at"]


HOSTILE = {
    "depth": "[" * 20_000 + "]" * 20_000,
    "deep object": '{"a":' * 40 + "1" + "}" * 40,
    "NUL": r'{"a": "\u0000"}',
    "NUL in a name": r'{"\u0000": 1}',
    "surrogate": r'{"a": "\ud800"}',
    "NaN": '{"a": NaN}',
    "infinity": '{"a": -Infinity}',
    "1e400": '{"a": 1e400}',
    "a long number": f'{{"a": {"9" * 5000}}}',
    "many long numbers": f'{{"a": [{",".join(["1e300"] * 1000)}]}}',
    "two of one name": '{"a": 1, "a": 2}',
    "array": "[]",
    "text": '"a"',
    "too long": json.dumps({"a": "x" * 17_000}),
    "nothing": "{",
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_data_is_refused(service: Service, name: str) -> None:
    text = HOSTILE[name]
    clip = (await by_query(service, "app-12", 1, {"kept": 1})).json()
    headers = {**AUTH, "Content-Type": "application/json"}
    body = f'{{"metadata": {text}}}'
    edited = await service.http.patch(f"/play/{clip['id']}", content=body, headers=headers)
    assert (edited.status_code, edited.json()["code"]) in [
        (422, "invalid-request"),
        (400, "malformed-request"),
    ]
    files = {"file": ("a.wav", wav(0.1, seed=2))}
    sent = await service.http.post("/play/upload", files=files, data={"metadata": text}, headers=AUTH)
    assert (sent.status_code, sent.json()["code"]) == (422, "invalid-request")
    assert (await service.http.get(f"/play/{clip['id']}")).json() == clip


async def test_merged_data_is_bounded_too(service: Service) -> None:
    clip = (await by_query(service, "app-13", 1)).json()
    assert (await patch(service, clip, {"metadata": {"a": "x" * 9000}})).status_code == 200
    refused = await patch(service, clip, {"metadata": {"b": "x" * 9000}})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-request")


async def test_a_list_leaves_out_long_data(service: Service) -> None:
    clip = (await by_query(service, "app-14", 1, {"a": "x" * 3000})).json()
    [listed] = (await service.http.get("/play")).json()
    assert (clip["complete"], listed["complete"], listed["metadata"]) == (True, False, {})


@pytest.mark.parametrize("key", ["\x07 \u202e", "x" * 201])
async def test_keys_are_clean_lines_of_bounded_length(service: Service, key: str) -> None:
    clip = (await by_query(service, "app-15", 1)).json()
    refused = await patch(service, clip, {"external_id": key})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-request")
    cleaned = await patch(service, clip, {"external_id": " a\nb\u202e "})
    assert cleaned.json()["external_id"] == "a b"
