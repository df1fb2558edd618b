"""GET and HEAD /play/{id}/stream over a real socket; expectations from RFC 9110 §13–15 and API.md."""

from __future__ import annotations

import asyncio
import email
import email.policy
from typing import Any

import httpx
import pytest

from tests.support.service import AUTH, Service
from tests.support.sounds import wav

CONTENT = wav(2.0)
SIZE = len(CONTENT)


class Clip:
    """The one clip of these tests, and how to ask for it."""

    def __init__(self, service: Service, facts: dict[str, Any]) -> None:
        self.service = service
        self.facts = facts
        self.path = f"/play/{facts['id']}/stream"
        self.etag = f'"{facts["sha256"]}"'

    async def get(self, method: str = "GET", **fields: str) -> httpx.Response:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        return await self.service.http.request(method, self.path, headers=headers)

    async def plays(self) -> int:
        stats = await self.service.http.get(f"/play/{self.facts['id']}/stats")
        count: int = stats.json()["play_count"]
        return count


@pytest.fixture
async def clip(service: Service) -> Clip:
    answer = await service.http.post("/play/upload?filename=t%C3%B6n.wav", content=CONTENT, headers=AUTH)
    return Clip(service, answer.json())


async def test_whole(clip: Clip) -> None:
    answer = await clip.get()
    assert answer.status_code == 200
    assert answer.content == CONTENT
    assert answer.headers["content-length"] == str(SIZE)
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"] == clip.etag
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["content-disposition"].startswith("inline; ")
    assert "filename*=UTF-8''t%C3%B6n.wav" in answer.headers["content-disposition"]
    assert answer.headers["last-modified"].endswith(" GMT")
    assert "content-encoding" not in answer.headers


SINGLE = {
    "bytes=0-1": (0, 2),
    "bytes=0-0": (0, 1),
    "bytes=0-4": (0, 5),
    "BYTES=0-4": (0, 5),
    "bytes=100-": (100, SIZE),
    "bytes=0-": (0, SIZE),
    "bytes=-5": (SIZE - 5, SIZE),
    "bytes=-999999": (0, SIZE),
    "bytes=0-99999999999999999999999999": (0, SIZE),
    f"bytes={SIZE - 1}-{SIZE - 1}": (SIZE - 1, SIZE),
    "bytes= 7-9 , ,": (7, 10),
    f"bytes=3-4,{SIZE}-": (3, 5),
}


@pytest.mark.parametrize("asked", SINGLE)
async def test_single_range(clip: Clip, asked: str) -> None:
    start, stop = SINGLE[asked]
    answer = await clip.get(range=asked)
    assert answer.status_code == 206
    assert answer.content == CONTENT[start:stop]
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(stop - start)
    whole = (await clip.get()).headers
    for name in ("content-type", "etag", "last-modified", "cache-control", "accept-ranges"):
        assert answer.headers[name] == whole[name]


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", "bytes=-0", "bytes=99999999999999999999999999-"])
async def test_unsatisfiable(clip: Clip, asked: str) -> None:
    answer = await clip.get(range=asked)
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{SIZE}"
    assert answer.json()["code"] == "range-not-satisfiable"


@pytest.mark.parametrize(
    "asked", ["bytes=5-4", "bytes=a-b", "bytes=1_0-20", "seconds=1-2", "bytes", "bytes=", "0-4"]
)
async def test_range_that_is_ignored(clip: Clip, asked: str) -> None:
    answer = await clip.get(range=asked)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert "content-range" not in answer.headers


async def test_several_ranges(clip: Clip) -> None:
    answer = await clip.get(range="bytes=10-14,0-4,-1")
    assert answer.status_code == 206
    assert "content-range" not in answer.headers
    assert answer.headers["content-length"] == str(len(answer.content))
    message = email.message_from_bytes(
        b"Content-Type: " + answer.headers["content-type"].encode() + b"\r\n\r\n" + answer.content,
        policy=email.policy.HTTP,
    )
    parts = list(message.iter_parts())
    assert [part["Content-Range"] for part in parts] == [
        f"bytes 10-14/{SIZE}",
        f"bytes 0-4/{SIZE}",
        f"bytes {SIZE - 1}-{SIZE - 1}/{SIZE}",
    ]
    assert {part.get_content_type() for part in parts} == {"audio/wav"}
    assert [part.get_payload(decode=True) for part in parts] == [CONTENT[10:15], CONTENT[:5], CONTENT[-1:]]


async def test_head_is_get_without_body_and_without_range(clip: Clip) -> None:
    whole = await clip.get()
    head = await clip.get("HEAD", range="bytes=0-4")
    assert (head.status_code, head.content) == (200, b"")
    for name in (
        "content-length",
        "content-type",
        "etag",
        "last-modified",
        "accept-ranges",
        "content-disposition",
    ):
        assert head.headers[name] == whole.headers[name]


async def test_not_modified(clip: Clip) -> None:
    modified = (await clip.get("HEAD")).headers["last-modified"]
    for fields in (
        {"if_none_match": clip.etag},
        {"if_none_match": f'"x", W/{clip.etag}'},
        {"if_none_match": "*"},
        {"if_modified_since": modified},
        {"if_none_match": clip.etag, "range": "bytes=0-4"},
    ):
        for method in ("GET", "HEAD"):
            answer = await clip.get(method, **fields)
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["etag"] == clip.etag
            assert answer.headers["cache-control"] == "no-cache"
            assert "content-type" not in answer.headers
            assert answer.headers.get("content-length") in (None, str(SIZE))


async def test_precondition_failed(clip: Clip) -> None:
    for fields in (
        {"if_match": '"x"'},
        {"if_match": f"W/{clip.etag}"},
        {"if_unmodified_since": "Thu, 01 Jan 2015 00:00:00 GMT"},
    ):
        answer = await clip.get(**fields)
        assert (answer.status_code, answer.json()["code"]) == (412, "precondition-failed")
    assert (await clip.get(if_match=f'"x", {clip.etag}')).status_code == 200
    assert await clip.plays() == 1


async def test_if_range(clip: Clip) -> None:
    modified = (await clip.get("HEAD")).headers["last-modified"]
    for validator, status in (
        (clip.etag, 206),
        (modified, 206),
        ('"x"', 200),
        (f"W/{clip.etag}", 200),
        ("Thu, 01 Jan 2015 00:00:00 GMT", 200),
        ("garbage", 200),
    ):
        answer = await clip.get(range="bytes=1-4", if_range=validator)
        assert answer.status_code == status, validator


COUNTS = {
    None: 1,
    "bytes=0-": 1,
    "bytes=0-65535": 1,
    "bytes=0-2": 1,
    "bytes=0-1": 0,
    "bytes=1-": 0,
    "bytes=-5": 0,
    "bytes=-999999": 1,
    f"bytes={SIZE}-": 0,
    "bytes=5-6,0-9": 1,
    "bytes=20-30,40-50": 0,
}


@pytest.mark.parametrize("asked", COUNTS)
async def test_what_counts_as_a_play(clip: Clip, asked: str | None) -> None:
    await (clip.get(range=asked) if asked else clip.get())
    await clip.get("HEAD")
    assert await clip.plays() == COUNTS[asked]


async def test_many_plays_at_once_are_all_counted(clip: Clip) -> None:
    limit = asyncio.Semaphore(50)

    async def play() -> int:
        async with limit:
            return (await clip.get(range="bytes=0-9")).status_code

    assert set(await asyncio.gather(*(play() for _ in range(500)))) == {206}
    assert await clip.plays() == 500


async def test_missing_bytes_are_an_error_before_the_first_byte(clip: Clip) -> None:
    for path in clip.service.files():
        path.unlink()
    for method in ("GET", "HEAD"):
        answer = await clip.get(method)
        assert answer.status_code == 500
    assert (await clip.get()).json()["code"] == "blob-missing"
    assert await clip.plays() == 0


async def test_delete_does_not_disturb_a_running_stream(service: Service) -> None:
    content = wav(400.0)
    facts = (await service.http.post("/play/upload", content=content, headers=AUTH)).json()
    async with service.http.stream("GET", f"/play/{facts['id']}/stream") as answer:
        chunks = answer.aiter_raw(65536)
        received = await anext(chunks)
        assert (await service.http.delete(f"/play/{facts['id']}", headers=AUTH)).status_code == 204
        async for chunk in chunks:
            received += chunk
    assert received == content
