"""External clips: fetched by the service and passed through. The source is a second Mosic."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.support.databases import shown
from tests.support.exchange import Answer, exchange, head
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav

CONTENT = wav(2.0)


@pytest.fixture
async def relay(tmp_path: Path, empty_database_url: URL) -> AsyncIterator[Service]:
    """A service that may fetch from loopback, where the source of these tests is."""
    async with running_service(
        tmp_path / "relay", shown(empty_database_url), remote_allow_private=True
    ) as running:
        yield running


async def add_external(relay: Service, source: Service) -> tuple[str, str]:
    there = (await source.http.post("/play/upload", content=CONTENT, headers=AUTH)).json()
    here = await relay.http.post(
        "/play", json={"title": "Far", "audio_url": there["stream_url"]}, headers=AUTH
    )
    assert here.status_code == 201
    return f"/play/{here.json()['id']}", f'"{there["sha256"]}"'


async def test_whole_ranges_and_conditions_pass_through(service: Service, relay: Service) -> None:
    path, etag = await add_external(relay, service)
    whole = await relay.http.get(f"{path}/stream")
    assert (whole.status_code, whole.content) == (200, CONTENT)
    assert whole.headers["etag"] == etag
    assert whole.headers["content-type"] == "audio/wav"
    assert whole.headers["x-content-type-options"] == "nosniff"
    part = await relay.http.get(f"{path}/stream", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, CONTENT[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(CONTENT)}"
    same = await relay.http.get(f"{path}/stream", headers={"If-None-Match": etag})
    assert (same.status_code, same.content) == (304, b"")
    head = await relay.http.head(f"{path}/stream")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(CONTENT)))
    assert (await relay.http.get(f"{path}/stats")).json()["play_count"] == 1


async def test_refusals_of_the_source_are_problems_too(service: Service, relay: Service) -> None:
    path, _ = await add_external(relay, service)
    past = await relay.http.get(f"{path}/stream", headers={"Range": f"bytes={len(CONTENT)}-"})
    assert (past.status_code, past.json()["code"]) == (416, "range-not-satisfiable")
    assert past.headers["content-range"] == f"bytes */{len(CONTENT)}"
    other = await relay.http.get(f"{path}/stream", headers={"If-Match": '"other"'})
    assert (other.status_code, other.json()["code"]) == (412, "precondition-failed")
    for answer in (past, other):
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await relay.http.get(f"{path}/stats")).json()["play_count"] == 0


@pytest.mark.parametrize(
    ("asked", "plays"),
    [("bytes=0-", 1), ("bytes=0-1", 0), ("bytes=0-2", 1), ("bytes=5-", 0), (f"bytes=-{len(CONTENT)}", 1)],
)
async def test_what_counts_as_a_play(service: Service, relay: Service, asked: str, plays: int) -> None:
    path, _ = await add_external(relay, service)
    answer = await relay.http.get(f"{path}/stream", headers={"Range": asked})
    assert answer.status_code == 206
    assert (await relay.http.get(f"{path}/stats")).json()["play_count"] == plays


async def from_stranger(relay: Service, answer: bytes, *lines: str) -> Answer:
    """What a listener gets whose clip is at a source that answers so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/song.mp3"
        clip = await relay.http.post("/play", json={"title": "Far", "audio_url": url}, headers=AUTH)
        return await exchange(relay.port, head("GET", f"/play/{clip.json()['id']}/stream", *lines))


PART = b"HTTP/1.1 206 P\r\nContent-Type: audio/mpeg\r\nContent-Range: bytes 0-4/9\r\n"


async def test_a_part_in_chunks_has_its_length(relay: Service) -> None:
    answer = await from_stranger(
        relay, PART + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "Range: bytes=0-4"
    )
    assert (answer.status, answer.body, answer.fields["content-length"]) == (206, b"hello", "5")
    assert "transfer-encoding" not in answer.fields


@pytest.mark.parametrize("chunks", [b"6\r\nhello!\r\n0\r\n\r\n", b"0\r\n\r\n"], ids=["longer", "empty"])
async def test_a_part_that_is_not_what_it_says_is_502(relay: Service, chunks: bytes) -> None:
    answer = await from_stranger(
        relay, PART + b"Transfer-Encoding: chunked\r\n\r\n" + chunks, "Range: bytes=0-4"
    )
    assert (answer.status, json.loads(answer.body)["code"]) == (502, "remote-failed")


@pytest.mark.parametrize("asked", ["0-4", "0-", "-4", "6-9"])
async def test_another_part_than_was_asked_for_is_502_and_no_play(relay: Service, asked: str) -> None:
    part = b"HTTP/1.1 206 P\r\nContent-Type: audio/mpeg\r\nContent-Range: bytes 5-9/10\r\n"
    answer = await from_stranger(relay, part + b"Content-Length: 5\r\n\r\nhello", f"Range: bytes={asked}")
    assert (answer.status, json.loads(answer.body)["code"]) == (502, "remote-failed")
    (clip,) = (await relay.http.get("/play")).json()
    assert clip["play_count"] == 0


async def test_source_that_is_gone_is_502_and_no_play(service: Service, relay: Service) -> None:
    path, _ = await add_external(relay, service)
    (clip,) = (await service.http.get("/play")).json()
    await service.http.delete(f"/play/{clip['id']}", headers=AUTH)
    answer = await relay.http.get(f"{path}/stream")
    assert (answer.status_code, answer.json()["code"]) == (502, "remote-failed")
    assert (await relay.http.get(f"{path}/stats")).json()["play_count"] == 0


async def test_external_clip_is_removed_like_any_other(service: Service, relay: Service) -> None:
    path, _ = await add_external(relay, service)
    assert (await relay.http.delete(path, headers=AUTH)).status_code == 204
    assert (await relay.http.get(f"{path}/stream")).status_code == 404


@pytest.mark.parametrize(("mode", "status"), [("redirect", 307), ("off", 403)])
async def test_other_ways(
    service: Service, tmp_path: Path, empty_database_url: URL, mode: str, status: int
) -> None:
    async with running_service(
        tmp_path / "other", shown(empty_database_url), remote_allow_private=True, remote_stream=mode
    ) as other:
        path, _ = await add_external(other, service)
        answer = await other.http.get(f"{path}/stream")
        assert answer.status_code == status
        if mode == "redirect":
            assert answer.headers["location"].startswith(service.url)
        else:
            assert answer.json()["code"] == "remote-disabled"
        plays = (await other.http.get(f"{path}/stats")).json()["play_count"]
        assert plays == (1 if mode == "redirect" else 0)


@pytest.mark.parametrize(
    ("given", "location"),
    [
        ("/ä.mp3", "/%C3%A4.mp3"),
        ("/a b.mp3", None),
        ("/東京.mp3?q=é#top", "/%E6%9D%B1%E4%BA%AC.mp3?q=%C3%A9"),
        ("/%C3%A4.mp3", "/%C3%A4.mp3"),
        ("/" + "ä" * 300, "/" + "%C3%A4" * 300),
        ("/" + "ä" * 400, None),
    ],
    ids=["latin", "blank", "other scripts", "encoded", "long", "too long"],
)
async def test_redirects_to_what_is_not_ascii(
    service: Service, tmp_path: Path, empty_database_url: URL, given: str, location: str | None
) -> None:
    """RFC 3987 §3.1: a URL goes over the wire percent-encoded; RFC 9110 §10.2.2: so does a Location."""
    async with running_service(
        tmp_path / "other", shown(empty_database_url), remote_allow_private=True, remote_stream="redirect"
    ) as other:
        clip = {"title": "x", "audio_url": service.url + given}
        added = await other.http.post("/play", json=clip, headers=AUTH)
        if location is None:
            assert (added.status_code, added.json()["code"]) == (422, "remote-refused")
            return
        assert added.json()["audio_url"] == service.url + given
        answer = await exchange(other.port, head("GET", f"/play/{added.json()['id']}/stream"))
        assert (answer.status, answer.fields["location"]) == (307, service.url + location)


async def test_a_name_in_another_script_is_redirected_to_in_ascii(
    tmp_path: Path, empty_database_url: URL
) -> None:
    async with running_service(
        tmp_path / "other", shown(empty_database_url), remote_stream="redirect"
    ) as other:
        clip = {"title": "x", "audio_url": "https://bücher.example/ü.mp3"}
        added = await other.http.post("/play", json=clip, headers=AUTH)
        answer = await exchange(other.port, head("GET", f"/play/{added.json()['id']}/stream"))
        assert answer.fields["location"] == "https://xn--bcher-kva.example/%C3%BC.mp3"


async def test_loopback_is_refused_by_default(service: Service) -> None:
    clip = (await service.http.post("/play/upload", content=CONTENT, headers=AUTH)).json()
    answer = await service.http.post(
        "/play", json={"title": "x", "audio_url": clip["stream_url"]}, headers=AUTH
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "remote-refused")
