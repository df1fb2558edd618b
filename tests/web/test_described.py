"""What the OpenAPI document says of header fields, against those that the running service sends."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from mutagen.id3 import CHAP, ID3, USLT
from sqlalchemy import URL

from mosic.web.described import REQUESTS, RESPONSES
from tests.support.databases import shown
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav
from tests.support.waiting import until

# Fields of every HTTP answer, which no document of an API names.
GENERAL = {"date", "server", "connection", "content-length", "content-type", "allow"}
TUS = {"Tus-Resumable": "1.0.0"}
MAKING = (("POST", "/play"), ("PUT", "/play/upload"), ("POST", "/play/upload"))
OCTETS = {**TUS, "Content-Type": "application/offset+octet-stream"}


def tagged(sound: bytes) -> bytes:
    """With a chapter and lyrics in front."""
    tags, tag = ID3(), BytesIO()
    tags.add(CHAP(element_id="a", start_time=0, end_time=100, sub_frames=[]))
    tags.add(USLT(encoding=3, lang="eng", desc="", text="sung"))
    tags.save(tag)
    return tag.getvalue() + sound


async def document(service: Service) -> Any:
    return (await service.http.get("/openapi.json")).json()


async def test_every_field_that_is_told_of_has_its_route(service: Service) -> None:
    paths = (await document(service))["paths"]
    for method, path in REQUESTS:
        assert method in paths[path], (method, path)
    for method, path, status in RESPONSES:
        assert status in paths[path][method]["responses"], (method, path, status)


async def test_clips_come_first(service: Service) -> None:
    found = await document(service)
    tags = [next(iter(operations.values()))["tags"][0] for operations in found["paths"].values()]
    assert list(dict.fromkeys(tags)) == [tag["name"] for tag in found["tags"]]
    assert tags[0] == "clips"


@pytest.fixture
async def service_with_trash(tmp_path: Path, database_url: URL) -> AsyncIterator[Service]:
    async with running_service(
        tmp_path / "media", shown(database_url), trash_days=7, works_at_once=1
    ) as running:
        yield running


async def test_every_field_of_an_answer_is_in_the_document(service_with_trash: Service) -> None:
    service = service_with_trash
    paths = (await document(service))["paths"]
    seen: set[tuple[str, str, str]] = set()

    def check(answer: httpx.Response, template: str) -> httpx.Response:
        method, status = answer.request.method.lower(), str(answer.status_code)
        responses = paths[template][method]["responses"]
        assert status in responses, f"{method} {template} answers {status}: {answer.text[:300]}"
        named = {name.lower() for name in responses[status].get("headers", {})}
        missing = set(answer.headers) - named - GENERAL
        assert not missing, f"{method} {template} {status} sends {missing}"
        seen.add((method, template, status))
        return answer

    http = service.http
    sound = {**AUTH, "Content-Type": "audio/wav"}
    for number, (method, path) in enumerate(MAKING):
        for status in (201, 200):
            answer = await http.request(method, path, content=wav(0.2, seed=number), headers=sound)
            assert check(answer, path).status_code == status
    one = f"/play/{(await http.get('/play')).json()[0]['id']}"
    check(await http.get("/play"), "/play")
    check(await http.get("/play/top"), "/play/top")
    etag = check(await http.get(one), "/play/{clip_id}").headers["etag"]
    edit = {**AUTH, "If-Match": etag}
    check(await http.patch(one, json={"title": "x"}, headers=edit), "/play/{clip_id}")
    late = check(await http.patch(one, json={"title": "y"}, headers=edit), "/play/{clip_id}")
    assert late.status_code == 412
    check(await http.get(f"{one}/stats"), "/play/{clip_id}/stats")
    check(await http.get(f"{one}/works"), "/play/{clip_id}/works")
    carries = await http.put("/play/upload", content=tagged(wav(0.2, seed=77)), headers=sound)
    for part in ("chapters", "lyrics"):
        for url in (one, f"/play/{carries.json()['id']}"):
            check(await http.get(f"{url}/{part}"), f"/play/{{clip_id}}/{part}")
    stream, template = f"{one}/stream", "/play/{clip_id}/stream"
    whole = check(await http.get(stream), template)
    check(await http.get(stream, headers={"Range": "bytes=0-9"}), template)
    check(await http.get(stream, headers={"Range": "bytes=99999999-"}), template)
    check(await http.get(stream, headers={"If-None-Match": whole.headers["etag"]}), template)
    waveform, template = f"{one}/waveform", "/play/{clip_id}/waveform"

    async def is_drawn() -> bool:
        return check(await http.get(waveform), template).status_code == 200

    await until(is_drawn)
    drawn = await http.get(waveform)
    check(await http.get(waveform, headers={"Range": "bytes=0-9"}), template)
    check(await http.get(waveform, headers={"If-None-Match": drawn.headers["etag"]}), template)
    check(await http.post("/play/upload", content=b"x"), "/play/upload")
    check(await http.delete(one), "/play/{clip_id}")
    check(await http.delete(one, headers=AUTH), "/play/{clip_id}")
    check(await http.get(one), "/play/{clip_id}")
    restored = check(await http.post(f"{one}/restore", headers=AUTH), "/play/{clip_id}/restore")
    assert "etag" in restored.headers
    other = {**sound, "If-Match": restored.headers["etag"]}
    for status in (200, 412):
        answer = await http.put(f"{one}/audio", content=wav(0.3, seed=8), headers=other)
        assert check(answer, "/play/{clip_id}/audio").status_code == status
    for path in ("/metrics", "/health", "/ready"):
        check(await http.get(path), path)

    new = wav(0.2, seed=9)
    check(await http.options("/play/uploads"), "/play/uploads")
    made = await http.post(
        "/play/uploads",
        headers={**AUTH, **TUS, "Upload-Length": str(len(new)), "Upload-Metadata": "filename YS53YXY="},
    )
    upload = check(made, "/play/uploads").headers["location"]
    template = "/play/uploads/{upload_id}"
    check(
        await http.patch(upload, content=new[:10], headers={**AUTH, **OCTETS, "Upload-Offset": "0"}), template
    )
    check(await http.head(upload, headers={**AUTH, **TUS}), template)
    check(await http.get(upload, headers=AUTH), template)
    check(
        await http.patch(upload, content=new[10:], headers={**AUTH, **OCTETS, "Upload-Offset": "0"}), template
    )
    done = await http.patch(upload, content=new[10:], headers={**AUTH, **OCTETS, "Upload-Offset": "10"})
    assert "content-location" in check(done, template).headers
    check(await http.head(upload, headers={**AUTH, **TUS}), template)
    check(await http.delete(upload, headers={**AUTH, **TUS}), template)

    # A waveform may be there at once.
    told = {key for key in RESPONSES if key[2] not in ("202", "307")}
    assert told <= seen, f"never answered: {told - seen}"
    operations = {(method, path) for path, methods in paths.items() for method in methods}
    asked = {(method, path) for method, path, _ in seen}
    assert operations == asked, f"never asked: {operations - asked}"


async def test_preconditions_and_digests_are_told_of_wherever_they_are_heeded(service: Service) -> None:
    for path, methods in (await document(service))["paths"].items():
        if path.startswith("/play/uploads"):
            continue  # 412 is of another version of tus there
        for method, operation in methods.items():
            named = {one["name"] for one in operation["parameters"] if one["in"] == "header"}
            if "412" in operation["responses"]:
                assert {"If-Match", "If-Unmodified-Since"} <= named, (method, path)
            if "audio/*" in operation.get("requestBody", {}).get("content", {}):
                assert {"Repr-Digest", "Content-Digest"} <= named, (method, path)
