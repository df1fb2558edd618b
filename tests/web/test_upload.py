"""POST and PUT /play/upload, as API.md's «Upload» and RFC 7578 have it."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from tests.support.programs import needs_ffmpeg
from tests.support.service import AUTH, Service
from tests.support.sounds import TAGS, encode, ffprobe_duration, wav
from tests.support.waiting import until


async def test_form_upload_gives_a_clip(service: Service) -> None:
    content = wav(0.5)
    answer = await service.http.post(
        "/play/upload",
        headers=AUTH,
        files={"file": ("My Song.wav", content)},
        data={"artist": "Somebody", "track_number": "4", "genre": ""},
    )
    assert answer.status_code == 201
    clip = answer.json()
    assert answer.headers["location"] == f"/play/{clip['id']}"
    assert clip["title"] == "My Song"
    assert clip["artist"] == "Somebody"
    assert clip["track_number"] == 4
    assert clip["genre"] is None
    assert clip["duration"] == pytest.approx(0.5, abs=0.001)
    assert clip["media_type"] == "audio/wav"
    assert clip["size"] == len(content)
    assert clip["sha256"] == hashlib.sha256(content).hexdigest()
    assert clip["audio_url"] == clip["stream_url"] == f"{service.url}/play/{clip['id']}/stream"
    assert clip["play_count"] == 0
    assert clip["created_at"].endswith("Z")
    assert (await service.http.get(clip["stream_url"])).content == content


FORMATS = {
    "mp3": ["-b:a", "128k"],
    "vbr.mp3": ["-q:a", "4"],
    "flac": [],
    "ogg": ["-c:a", "libvorbis"],
    "opus": ["-c:a", "libopus"],
    "m4a": ["-c:a", "aac"],
    "wav": [],
    "aiff": ["-write_id3v2", "1"],
    "wma": [],
}


@needs_ffmpeg
@pytest.mark.parametrize("ending", FORMATS)
async def test_duration_and_tags_of_every_format(service: Service, tmp_path: Path, ending: str) -> None:
    path = encode(tmp_path / f"tone.{ending}", *FORMATS[ending], tags=TAGS)
    answer = await service.upload(path)
    assert answer.status_code == 201
    clip = answer.json()
    assert clip["duration"] == pytest.approx(ffprobe_duration(path), abs=0.05)
    assert clip["title"] == TAGS["title"]
    assert clip["artist"] == TAGS["artist"]
    assert clip["album"] == TAGS["album"]
    assert clip["genre"] == TAGS["genre"]
    assert clip["date"] == TAGS["date"]
    assert clip["track_number"] == 3
    assert clip["sample_rate"] in (44100, 48000)


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("kind", ["audio/wav", "application/octet-stream", None])
async def test_raw_body(service: Service, method: str, kind: str | None) -> None:
    headers = AUTH | ({"Content-Type": kind} if kind else {})
    answer = await service.http.request(
        method, "/play/upload?filename=a%20b.wav&title=Given", content=wav(), headers=headers
    )
    assert answer.status_code == 201
    assert answer.json()["title"] == "Given"


async def test_curl_T_adds_the_file_name_to_the_path(service: Service) -> None:
    answer = await service.http.put("/play/upload/Caf%C3%A9.wav", content=wav(), headers=AUTH)
    assert answer.status_code == 201
    assert answer.json()["title"] == "Café"


async def test_same_bytes_give_the_clip_that_is_there(service: Service) -> None:
    first = await service.http.post("/play/upload", content=wav(), headers=AUTH)
    again = await service.http.post("/play/upload", content=wav(), headers=AUTH)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["id"] == first.json()["id"]
    assert len(service.files()) == 1


async def test_same_bytes_at_once_are_one_clip(service: Service) -> None:
    content = wav(1.0)
    answers = await asyncio.gather(
        *(service.http.post("/play/upload", content=content, headers=AUTH) for _ in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(service.files()) == 1


JUNK = {
    "random.mp3": os.urandom(50_000),
    "text.mp3": b"This is no song.\n" * 500,
    "page.mp3": b"ID3\x04\x00\x00\x00\x00\x00\x0a"
    + bytes(10)
    + b"<html><script>alert(1)</script></html>" * 50,
    "page.html": b"<!doctype html><title>x</title>",
    "picture.flac": b"\x89PNG\r\n\x1a\n" + bytes(2000),
    "empty.wav": b"",
    "cut.flac": b"fLaC\x00\x00\x00\x22",
}


@pytest.mark.parametrize("name", JUNK)
async def test_what_is_not_audio_is_refused_and_leaves_nothing(service: Service, name: str) -> None:
    answer = await service.http.post("/play/upload", files={"file": (name, JUNK[name])}, headers=AUTH)
    assert answer.status_code in (415, 422)
    assert answer.json()["code"] in ("unsupported-media", "unreadable-media")
    assert service.files() == []
    assert (await service.http.get("/play")).json() == []


async def test_form_without_file(service: Service) -> None:
    answer = await service.http.post("/play/upload", files={"other": ("a.wav", wav())}, headers=AUTH)
    assert (answer.status_code, answer.json()["code"]) == (422, "missing-file")
    assert service.files() == []


async def test_wrong_form_field_is_refused(service: Service) -> None:
    answer = await service.http.post(
        "/play/upload", files={"file": ("a.wav", wav())}, data={"track_number": "many"}, headers=AUTH
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
    assert answer.json()["errors"][0]["loc"] == ["body", "track_number"]
    assert service.files() == []


async def test_form_that_ends_early(service: Service) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF'
    answer = await service.http.post(
        "/play/upload", content=body, headers=AUTH | {"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")
    assert service.files() == []


async def test_type_that_is_no_upload(service: Service) -> None:
    answer = await service.http.post(
        "/play/upload", content="<a/>", headers=AUTH | {"Content-Type": "text/html"}
    )
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-content-type")


@pytest.mark.parametrize("path", ["/play", "/play/upload", "/play/upload/x.wav"])
@pytest.mark.parametrize("key", [None, "", "wrong", "test-key "])
async def test_key_is_checked_before_the_body_is_read(service: Service, path: str, key: str | None) -> None:
    """The body is announced and never sent: an answer can only come from one who did not wait for it."""
    header = b"" if key is None else b"X-API-Key: " + key.encode() + b"-\r\n"
    method = b"PUT" if path.endswith("x.wav") else b"POST"
    answer = await asyncio.wait_for(
        service.raw(
            method
            + b" "
            + path.encode()
            + b" HTTP/1.1\r\nHost: x\r\n"
            + header
            + b"Content-Type: audio/wav\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
        ),
        10,
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"www-authenticate: ApiKey" in head
    assert b'"unauthorized"' in body
    assert service.files() == []


async def test_declared_size_over_the_limit_is_refused_before_the_body(service: Service) -> None:
    size = service.settings.max_upload_bytes + 1
    answer = await service.raw(
        b"POST /play/upload HTTP/1.1\r\nHost: x\r\nX-API-Key: test-key\r\nContent-Type: audio/wav\r\n"
        b"Expect: 100-continue\r\nContent-Length: " + str(size).encode() + b"\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"too-large" in answer


async def test_client_that_leaves_midway_leaves_nothing(service: Service) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(
        b"POST /play/upload HTTP/1.1\r\nHost: x\r\nX-API-Key: test-key\r\nContent-Type: audio/wav\r\n"
        b"Content-Length: 9000000\r\n\r\n" + wav() + bytes(300_000)
    )
    await writer.drain()
    await until(service.files)
    writer.transport.abort()
    del reader
    await until(lambda: not service.files())
