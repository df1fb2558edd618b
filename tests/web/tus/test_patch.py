"""PATCH: bytes are appended, with a checksum or without, until the upload is a clip (tus 1.0.0)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.support.databases import shown
from tests.support.service import running_service
from tests.support.tus import (
    OCTETS,
    Tus,
    checksum,
    chunked,
    fresh,
)


async def test_an_offset_that_is_not_right_changes_nothing(tus: Tus) -> None:
    url = await tus.create(100)
    await tus.patch(url, 0, bytes(10))
    for wrong in (0, 9, 11, 100, 2**62):
        answer = await tus.patch(url, wrong, b"x" * 5)
        assert (answer.status_code, answer.json()["code"]) == (409, "offset-mismatch")
    assert await tus.offset(url) == 10


PATCHES: list[tuple[dict[str, str], int, str]] = [
    ({"Content-Type": "application/octet-stream"}, 415, "unsupported-content-type"),
    ({"Content-Type": "audio/wav"}, 415, "unsupported-content-type"),
    ({"Upload-Offset": "-1"}, 400, "malformed-request"),
    ({"Upload-Offset": "1_0"}, 400, "malformed-request"),
    ({"Upload-Offset": str(2**70)}, 400, "malformed-request"),
    ({"Upload-Offset": ""}, 400, "malformed-request"),
    ({"Upload-Length": "101"}, 400, "malformed-request"),
    ({"Upload-Checksum": "crc32 AAAA"}, 400, "malformed-request"),
    ({"Upload-Checksum": "SHA1 " + "A" * 27 + "="}, 400, "malformed-request"),
    ({"Upload-Checksum": "sha1"}, 400, "malformed-request"),
    ({"Upload-Checksum": checksum("sha1", b"other")}, 460, "checksum-mismatch"),
    ({"Upload-Checksum": checksum("sha256", b"other")}, 460, "checksum-mismatch"),
]


@pytest.mark.parametrize(("fields", "status", "code"), PATCHES, ids=lambda value: str(value)[:50])
async def test_a_patch_that_is_refused_changes_nothing(
    tus: Tus, fields: dict[str, str], status: int, code: str
) -> None:
    url = await tus.create(100)
    await tus.patch(url, 0, bytes(10))
    answer = await tus.send("PATCH", url, b"x" * 5, **{**OCTETS, "Upload-Offset": "10", **fields})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await tus.offset(url) == 10


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
async def test_a_right_checksum(tus: Tus, algorithm: str) -> None:
    audio = fresh()
    url = await tus.create(len(audio))
    for at in range(0, len(audio), 1000):
        piece = audio[at : at + 1000]
        answer = await tus.patch(url, at, piece, upload_checksum=checksum(algorithm, piece))
        assert answer.status_code == 204
    assert await tus.stream(await tus.send("HEAD", url)) == audio


async def test_a_wrong_checksum_of_the_last_piece_makes_no_clip(tus: Tus) -> None:
    audio = fresh()
    url = await tus.create(len(audio))
    wrong = await tus.patch(url, 0, audio, upload_checksum=checksum("sha1", audio[::-1]))
    assert wrong.status_code == 460
    assert await tus.offset(url) == 0
    assert await tus.clips(audio) == []
    assert (await tus.patch(url, 0, audio)).status_code == 204


async def test_more_than_the_length_is_refused(tus: Tus) -> None:
    url = await tus.create(100)
    assert (await tus.patch(url, 0, bytes(101))).status_code == 413
    assert await tus.offset(url) == 0
    answer = await tus.patch(url, 0, chunked(bytes(99), bytes(99), seconds=0.01))
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert await tus.offset(url) <= 100


async def test_a_deferred_length(tus: Tus) -> None:
    audio = fresh()
    url = await tus.create(None)
    first = await tus.send("HEAD", url)
    assert first.headers["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in first.headers
    await tus.patch(url, 0, audio[:100])
    await tus.patch(url, 100, audio[100:200], upload_length=str(len(audio)))
    second = await tus.send("HEAD", url)
    assert second.headers["Upload-Length"] == str(len(audio))
    assert "Upload-Defer-Length" not in second.headers
    for other in (199, len(audio) + 1):
        assert (await tus.patch(url, 200, b"", upload_length=str(other))).status_code == 400
    ended = await tus.patch(url, 200, audio[200:])
    assert await tus.stream(ended) == audio


async def test_a_length_that_comes_after_the_last_byte(tus: Tus) -> None:
    audio = fresh()
    url = await tus.create(None)
    await tus.patch(url, 0, audio)
    too_small = await tus.patch(url, len(audio), b"", upload_length="5")
    assert too_small.status_code == 400
    ended = await tus.patch(url, len(audio), b"", upload_length=str(len(audio)))
    assert await tus.stream(ended) == audio


async def test_a_deferred_length_has_the_limit_of_all(tmp_path: Path, database_url: URL) -> None:
    async with running_service(tmp_path / "media", shown(database_url), max_upload_mb=1) as service:
        tus = Tus(service)
        url = await tus.create(None)
        assert (await tus.patch(url, 0, chunked(*[bytes(600_000)] * 2))).status_code == 413
        assert await tus.offset(url) <= 2**20
        assert (
            await tus.send(
                "PATCH", url, upload_offset=str(await tus.offset(url)), upload_length="1048577", **OCTETS
            )
        ).status_code == 413


async def test_after_the_end_nothing_changes(tus: Tus) -> None:
    audio = fresh()
    url = await tus.create(len(audio))
    ended = await tus.patch(url, 0, audio)
    assert (await tus.patch(url, 0, audio)).status_code == 409
    assert (await tus.patch(url, len(audio), b"more")).status_code == 409
    # A client that did not get the answer may ask for it again.
    again = await tus.patch(url, len(audio), b"")
    assert again.status_code == 204
    assert again.headers["Content-Location"] == ended.headers["Content-Location"]
    assert len(await tus.clips(audio)) == 1


async def test_the_same_bytes_again_give_the_same_clip(tus: Tus) -> None:
    audio = fresh()
    first, second = [await tus.create(len(audio)) for _ in range(2)]
    answers = await asyncio.gather(tus.patch(first, 0, audio), tus.patch(second, 0, audio))
    assert [answer.status_code for answer in answers] == [204, 204]
    assert len({answer.headers["Content-Location"] for answer in answers}) == 1
    assert len(tus.files()) == 1


@pytest.mark.parametrize(
    ("content", "status"), [(b"no audio at all, just words" * 9, 415), (b"fLaC" + bytes(500), 422)]
)
async def test_whole_bytes_that_are_refused_stay_refused(tus: Tus, content: bytes, status: int) -> None:
    url = await tus.create(len(content))
    refused = await tus.patch(url, 0, content)
    assert refused.status_code == status
    for method in ("HEAD", "GET"):
        assert (await tus.send(method, url)).status_code == status
    again = await tus.patch(url, len(content), b"")
    assert (again.status_code, again.json()["detail"]) == (status, refused.json()["detail"])
    assert tus.files() == []
    assert (await tus.send("DELETE", url)).status_code == 204
    assert (await tus.send("HEAD", url)).status_code == 404
