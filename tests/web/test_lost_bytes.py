"""Sending bytes again that the store has lost makes the clip work again, whatever way they come."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from pathlib import Path

import httpx
import pytest

from tests.support.service import AUTH, Service
from tests.support.sounds import wav

TUS = {**AUTH, "Tus-Resumable": "1.0.0"}
WAYS = ("form", "raw", "tus", "tus at once")
REPLACING = "to the clip itself"

RESTORED = 'mosic_blob_troubles_total{kind="restored"}'
DAMAGED = 'mosic_uploads_total{outcome="blob-damaged"}'


async def send(service: Service, way: str, content: bytes, where: str = "") -> tuple[int, str]:
    """The status, and where the clip is."""
    http = service.http
    if way == REPLACING:
        answer = await http.put(f"{where}/audio", content=content, headers=AUTH)
        return answer.status_code, where
    if way == "form":
        answer = await http.post("/play/upload", files={"file": ("a.wav", content)}, headers=AUTH)
    elif way == "raw":
        answer = await http.put("/play/upload/a.wav", content=content, headers=AUTH)
    else:
        at_once = way == "tus at once"
        kind = {"Content-Type": "application/offset+octet-stream"}
        answer = await http.post(
            "/play/uploads",
            headers={**TUS, "Upload-Length": str(len(content))} | (kind if at_once else {}),
            content=content if at_once else b"",
        )
        if not at_once:
            answer = await http.patch(
                answer.headers["Location"], content=content, headers={**TUS, **kind, "Upload-Offset": "0"}
            )
        return answer.status_code, answer.headers.get("Content-Location", "")
    return answer.status_code, answer.headers.get("Location", "")


async def stored(service: Service) -> tuple[bytes, str, Path]:
    """A clip of which the store has the file."""
    content = wav(2)
    _, where = await send(service, "raw", content)
    (blob,) = (service.settings.media_root / "blobs").glob("??/*")
    return content, where, blob


async def listen(service: Service, where: str) -> httpx.Response:
    return await service.http.get(f"{where}/stream")


@pytest.mark.parametrize("heard", [False, True])
@pytest.mark.parametrize("way", [*WAYS, REPLACING])
async def test_lost_bytes_come_back(service: Service, way: str, heard: bool) -> None:
    before = await service.metric(RESTORED)
    content, where, blob = await stored(service)
    if heard:  # then the service has the file open, and knows the clip
        assert (await listen(service, where)).content == content
    blob.unlink()
    assert (await listen(service, where)).status_code == 500
    status, again = await send(service, way, content, where)
    assert status < 300
    assert again == where
    assert (await listen(service, where)).content == content
    assert [path.name for path in (service.settings.media_root / "blobs").glob("??/*")] == [blob.name]
    assert await service.metric(RESTORED) == before + 1


async def test_another_clip_that_is_told_to_have_the_bytes_has_them(service: Service) -> None:
    content, where, blob = await stored(service)
    _, other = await send(service, "raw", wav(1))
    blob.unlink()
    status, _ = await send(service, REPLACING, content, other)
    assert status == 409
    assert (await listen(service, where)).content == content


async def test_many_bring_them_back_at_once(service: Service) -> None:
    content, where, blob = await stored(service)
    blob.unlink()
    answers = await asyncio.gather(*(send(service, way, content) for way in WAYS * 3))
    assert {status for status, _ in answers} <= {200, 201, 204}
    assert {found for _, found in answers} == {where}
    assert (await listen(service, where)).content == content
    assert len(service.files()) == 1


async def test_bytes_that_are_lost_are_asked_for(service: Service) -> None:
    """A sender who waits to be told whether they are needed."""
    content, where, blob = await stored(service)
    blob.unlink()
    digest = b64encode(hashlib.sha256(content).digest()).decode()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(
        f"POST /play/upload HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {AUTH['X-API-Key']}\r\n"
        f"Repr-Digest: sha-256=:{digest}:\r\nExpect: 100-continue\r\nContent-Length: {len(content)}\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    assert (await reader.readline()).startswith(b"HTTP/1.1 100")
    writer.write(content)
    assert b"HTTP/1.1 200" in await reader.read()
    writer.close()
    assert (await listen(service, where)).content == content


@pytest.mark.parametrize("change", [b"", b"more"])
@pytest.mark.parametrize("way", [*WAYS, REPLACING])
async def test_a_blob_of_another_size_is_not_passed_over(service: Service, way: str, change: bytes) -> None:
    before = await service.metric(DAMAGED)
    content, where, blob = await stored(service)
    blob.write_bytes((content + change) if change else content[:-7])
    changed = blob.read_bytes()
    status, _ = await send(service, way, content, where)
    assert status == 500
    assert await service.metric(DAMAGED) - before == (way in ("form", "raw"))
    assert blob.read_bytes() == changed  # whoever runs the service has to see it first
    assert await service.metric('mosic_blob_troubles_total{kind="damaged"}') >= 1
    assert (await service.http.get(where)).status_code == 200
