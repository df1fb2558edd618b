"""POST: uploads are created, with their first bytes or without (tus 1.0.0, Creation)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from sqlalchemy import URL

from tests.support.databases import shown
from tests.support.service import AUTH, running_service
from tests.support.tus import (
    OCTETS,
    UPLOADS,
    VERSION,
    Tus,
    checksum,
    chunked,
    encoded,
    fresh,
)
from tests.support.waiting import until

# Creation


async def test_an_upload_in_pieces_becomes_a_clip(tus: Tus) -> None:
    audio = fresh(0.5)
    url = await tus.create(len(audio), upload_metadata=encoded(filename="Song.wav", artist="Ana"))
    position, answer = 0, httpx.Response(500)
    for size in (1, 1000, 0, 3000, len(audio)):
        piece = audio[position : position + size]
        answer = await tus.patch(url, position, piece)
        position += len(piece)
        assert answer.status_code == 204
        assert int(answer.headers["Upload-Offset"]) == position
        assert ("Content-Location" in answer.headers) == (position == len(audio))
    assert await tus.stream(answer) == audio
    (clip,) = await tus.clips(audio)
    assert (clip["title"], clip["artist"], clip["size"]) == ("Song", "Ana", len(audio))
    for method in ("HEAD", "GET"):
        later = await tus.send(method, url)
        assert later.headers["Content-Location"] == answer.headers["Content-Location"]
        assert int(later.headers["Upload-Offset"]) == len(audio)
    # Nothing is left beside the blob.
    assert [path.parent.parent.name for path in tus.files()] == ["blobs"]


async def test_head_says_everything_of_an_unfinished_one(tus: Tus) -> None:
    metadata = f"{encoded(filename='Ünï.wav')},is_confidential,empty ,relativePath bnVsbA=="
    url = await tus.create(1000, upload_metadata=metadata)
    await tus.patch(url, 0, bytes(10))
    answer = await tus.send("HEAD", url)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Upload-Length"] == "1000"
    assert answer.headers["Upload-Offset"] == "10"
    assert answer.headers["Upload-Metadata"] == metadata
    assert "Upload-Defer-Length" not in answer.headers
    assert "Content-Location" not in answer.headers


async def test_get_says_it_in_json(tus: Tus) -> None:
    url = await tus.create(None)
    await tus.patch(url, 0, bytes(10))
    answer = await tus.service.http.get(url, headers=AUTH)  # no client of tus asks this
    state = answer.json()
    assert {name: state[name] for name in ("offset", "length", "clip_id")} == {
        "offset": 10,
        "length": None,
        "clip_id": None,
    }
    assert url.endswith(state["id"])
    assert datetime.fromisoformat(state["expires_at"]) > datetime.now(UTC)
    assert answer.headers["Cache-Control"] == "no-store"


CREATIONS: list[tuple[dict[str, str], int, str]] = [
    ({}, 400, "malformed-request"),
    ({"Upload-Length": "5", "Upload-Defer-Length": "1"}, 400, "malformed-request"),
    ({"Upload-Defer-Length": "2"}, 400, "malformed-request"),
    ({"Upload-Length": "-1"}, 400, "malformed-request"),
    ({"Upload-Length": "abc"}, 400, "malformed-request"),
    ({"Upload-Length": str(2**70)}, 400, "malformed-request"),
    ({"Upload-Length": str(2**31 + 1)}, 413, "too-large"),
    ({"Upload-Length": "5", "Upload-Metadata": "a b c"}, 400, "malformed-request"),
    ({"Upload-Length": "5", "Upload-Metadata": "a YQ==,a YQ=="}, 400, "malformed-request"),
    ({"Upload-Length": "5", "Upload-Metadata": "k\u00e9y YQ=="}, 400, "malformed-request"),
    ({"Upload-Length": "5", "Upload-Metadata": "a " + "YQ" * 5000}, 400, "malformed-request"),
    ({"Upload-Length": "5", "Upload-Metadata": encoded(title="x" * 1001)}, 422, "invalid-request"),
    ({"Upload-Length": "5", "Upload-Metadata": encoded(track_number="one")}, 422, "invalid-request"),
    ({"Upload-Length": "5", "Upload-Concat": "partial"}, 400, "malformed-request"),
    ({"Upload-Concat": "final;/play/uploads/a /play/uploads/b"}, 400, "malformed-request"),
]


@pytest.mark.parametrize(("fields", "status", "code"), CREATIONS, ids=lambda value: str(value)[:50])
async def test_what_cannot_be_created(tus: Tus, fields: dict[str, str], status: int, code: str) -> None:
    raw = {name: value.encode("latin-1") for name, value in {**AUTH, **VERSION, **fields}.items()}
    answer = await tus.service.http.post(UPLOADS, headers=raw)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert "Location" not in answer.headers


async def test_what_does_not_fit_on_the_disk(tmp_path: Path, database_url: URL) -> None:
    async with running_service(tmp_path / "media", shown(database_url), max_upload_mb=2**20) as service:
        answer = await Tus(service).send("POST", UPLOADS, upload_length=str(2**40))
        assert (answer.status_code, answer.json()["code"]) == (507, "insufficient-storage")


async def test_an_upload_of_nothing_is_whole_at_once_and_no_audio(tus: Tus) -> None:
    answer = await tus.send("POST", UPLOADS, upload_length="0")
    assert answer.status_code == 415
    assert tus.files() == []


# Creation with upload


async def test_the_whole_file_with_the_creation(tus: Tus) -> None:
    audio = fresh()
    answer = await tus.send("POST", UPLOADS, audio, upload_length=str(len(audio)), **OCTETS)
    assert answer.status_code == 201
    assert answer.headers["Upload-Offset"] == str(len(audio))
    assert await tus.stream(answer) == audio
    again = await tus.send("HEAD", answer.headers["Location"])
    assert again.headers["Content-Location"] == answer.headers["Content-Location"]


async def test_first_bytes_with_the_creation(tus: Tus) -> None:
    audio = fresh()
    answer = await tus.send("POST", UPLOADS, chunked(audio[:100]), upload_defer_length="1", **OCTETS)
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (201, "100")
    ended = await tus.patch(answer.headers["Location"], 100, audio[100:], upload_length=str(len(audio)))
    assert await tus.stream(ended) == audio


@pytest.mark.parametrize(
    ("fields", "content", "status"),
    [
        ({"Content-Type": "audio/wav"}, b"12345", 415),
        ({}, b"12345", 415),
        (OCTETS, b"123456", 413),
        (OCTETS, b"12345", 415),  # whole, and no audio
        ({**OCTETS, "Upload-Checksum": checksum("sha1", b"54321")}, b"1234", 460),
        ({**OCTETS, "Upload-Checksum": "md5 AAAA"}, b"1234", 400),
    ],
)
async def test_a_creation_that_fails_leaves_nothing(
    tus: Tus, fields: dict[str, str], content: bytes, status: int
) -> None:
    answer = await tus.send("POST", UPLOADS, content, upload_length="5", **fields)
    assert answer.status_code == status
    assert "Location" not in answer.headers
    assert tus.files() == []


async def test_a_creation_that_breaks_leaves_nothing(tus: Tus) -> None:
    request = tus.partial(UPLOADS, declared=1000, extra="Upload-Length: 1000\r\n", method="POST")
    await request.begin(bytes(500))
    await until(tus.files)
    await request.abort()
    await until(lambda: not tus.files())
