"""Uploads that are refused: early, cleanly, with words that the client gets to read."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.support.databases import shown
from tests.support.service import AUTH, KEY, Service, running_service
from tests.support.sounds import wav

HEAD = b"POST /play/upload HTTP/1.1\r\nHost: x\r\nX-API-Key: test-key\r\nContent-Type: audio/wav\r\n"


def digest_of(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


@pytest.fixture
async def small(tmp_path: Path, database_url: URL) -> AsyncIterator[Service]:
    """A service that takes 1 MiB at most and waits one second for what does not come."""
    async with running_service(
        tmp_path / "media",
        shown(database_url),
        max_upload_mb=1,
        upload_idle_seconds=1,
        upload_min_rate=10_000,
    ) as running:
        yield running


async def test_limit_and_one_byte_more(small: Service) -> None:
    limit = 2**20
    header = wav()[:44]
    exact = header[:4] + struct.pack("<I", limit - 8) + header[8:40] + struct.pack("<I", limit - 44)
    exact += bytes(limit - len(exact))
    assert (await small.http.post("/play/upload", content=exact, headers=AUTH)).status_code == 201
    more = await small.http.post("/play/upload", content=exact + b"\0", headers=AUTH)
    assert (more.status_code, more.json()["code"]) == (413, "too-large")
    form = await small.http.post("/play/upload", files={"file": ("a.wav", exact)}, headers=AUTH)
    assert form.status_code == 200
    form = await small.http.post("/play/upload", files={"file": ("a.wav", exact + b"\0")}, headers=AUTH)
    assert (form.status_code, form.json()["code"]) == (413, "too-large")
    assert len(small.files()) == 1


async def test_body_of_unknown_length_is_cut_at_the_limit_and_the_sender_sees_413(small: Service) -> None:
    """The sender pushes on without reading: what it has sent by then must not turn the 413 into a reset."""
    sent = 0

    def push() -> bytes:
        nonlocal sent
        with socket.create_connection(("127.0.0.1", small.port), timeout=60) as client:
            client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
            for _ in range(20 * 16):
                client.sendall(chunk)
                sent += 65536
            client.sendall(b"0\r\n\r\n")
            return client.recv(65536)

    answer = await asyncio.to_thread(push)
    assert sent == 20 * 2**20
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer
    assert small.files() == []


async def test_sender_below_the_minimum_rate_is_told_408(small: Service) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", small.port)
    writer.write(HEAD + b"Content-Length: 500000\r\n\r\n")

    async def drip() -> None:
        while True:
            writer.write(b"x" * 100)
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    answer = await asyncio.wait_for(reader.read(4096), 60)
    dripping.cancel()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"upload-stalled" in answer
    assert small.files() == []


async def test_sender_that_falls_silent_is_told_408(small: Service) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", small.port)
    writer.write(HEAD + b"Content-Length: 500000\r\n\r\n" + bytes(1000))
    answer = await asyncio.wait_for(reader.read(4096), 60)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert small.files() == []


async def test_slow_but_steady_sender_is_taken(small: Service) -> None:
    """30 kB/s for more than two windows: above the minimum, however long it takes."""
    content = wav(4.0)

    async def steady() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 3000):
            yield content[start : start + 3000]
            await asyncio.sleep(0.1)

    answer = await small.http.post("/play/upload", content=steady(), headers=AUTH)
    assert answer.status_code == 201


async def test_no_room_for_the_declared_size_is_507(small: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mosic.disk.free_bytes", lambda _: 100)
    answer = await small.http.post("/play/upload", content=wav(), headers=AUTH)
    assert (answer.status_code, answer.json()["code"]) == (507, "insufficient-storage")
    assert small.files() == []


@pytest.mark.parametrize("field", ["Repr-Digest", "Content-Digest"])
async def test_digest_of_a_raw_body(service: Service, field: str) -> None:
    content = wav()
    wrong = await service.http.post("/play/upload", content=content, headers=AUTH | {field: digest_of(b"")})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "digest-mismatch")
    assert service.files() == []
    right = await service.http.post(
        "/play/upload", content=content, headers=AUTH | {field: f"sha-512=:AAAA:, {digest_of(content)}"}
    )
    assert right.status_code == 201


@pytest.mark.parametrize("field", ["Repr-Digest", "Content-Digest"])
async def test_digests_on_several_lines_are_one_list(service: Service, field: str) -> None:
    """RFC 9110 §5.3: a digest on the second line is no less to be verified."""
    lines = [*AUTH.items(), (field, "sha-512=:AAAA:"), (field, digest_of(b""))]
    answer = await service.http.post("/play/upload", content=wav(), headers=lines)
    assert (answer.status_code, answer.json()["code"]) == (400, "digest-mismatch")
    assert service.files() == []


async def test_repr_digest_of_a_file_in_a_form(service: Service) -> None:
    content = wav()
    for digest, status in ((digest_of(b""), 400), (digest_of(content), 201)):
        answer = await service.http.post(
            "/play/upload", files={"file": ("a.wav", content)}, headers=AUTH | {"Repr-Digest": digest}
        )
        assert answer.status_code == status
    assert len(service.files()) == 1


@pytest.mark.parametrize("value", ["sha-256=abc", "sha-256=:AAAA:", "sha-256", '"'])
async def test_digest_that_cannot_be_read_is_400(service: Service, value: str) -> None:
    answer = await service.http.post("/play/upload", content=wav(), headers=AUTH | {"Repr-Digest": value})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")


async def test_known_digest_spares_the_body_of_one_who_asks_first(service: Service) -> None:
    content = wav()
    clip = (await service.http.post("/play/upload", content=content, headers=AUTH)).json()
    answer = await service.raw(
        HEAD + f"Repr-Digest: {digest_of(content)}\r\n".encode() + b"Expect: 100-continue\r\n"
        b"Content-Length: " + str(len(content)).encode() + b"\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert clip["id"].encode() in answer


LENGTHS = ["-1", "5, 5", "5,6", "+5", "0x10", str(2**70), "9" * 5000, "", " ", "1e3"]


@pytest.mark.parametrize("length", LENGTHS)
async def test_odd_content_length_is_a_4xx(service: Service, length: str) -> None:
    answer = await service.raw(HEAD + f"Content-Length: {length}\r\nConnection: close\r\n\r\n".encode())
    status = int(answer.split()[1])
    assert 400 <= status < 500, answer
    assert service.files() == []


@pytest.mark.parametrize("filler", [b"X-Long: " + b"a" * 5_000_000, b"X: y\r\n" * 100_000])
async def test_endless_head_is_431_without_holding_it(service: Service, filler: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(b"GET /play HTTP/1.1\r\nHost: x\r\n" + filler)
    answer = await asyncio.wait_for(reader.read(4096), 60)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"head-too-large"' in answer
    assert (await service.http.get("/health")).status_code == 200


async def test_large_head_within_the_bound_and_many_on_one_connection(service: Service) -> None:
    for _ in range(5):
        answer = await service.http.get("/health", headers={"X-Long": "a" * 40_000})
        assert answer.status_code == 200


async def test_what_is_no_http_is_a_problem_too(service: Service) -> None:
    answer = await service.raw(b"nonsense\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer
    assert b'"malformed-request"' in answer


BOUNDARIES = [
    "",
    "; boundary=",
    "; boundary=" + "b" * 300,
    "; boundary=\xff",
    '; boundary="',
    "; boundary=a b",
]


@pytest.mark.parametrize("boundary", BOUNDARIES)
async def test_odd_boundary_is_400(service: Service, boundary: str) -> None:
    answer = await service.http.post(
        "/play/upload",
        content=b"--x\r\n\r\n",
        headers={**AUTH, "Content-Type": b"multipart/form-data" + boundary.encode("latin-1")},  # type: ignore[arg-type]
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")


async def test_memory_stays_flat_while_much_arrives(tmp_path: Path, database_url: URL) -> None:
    """In this process, whose memory would grow by as much as was buffered."""

    async def much() -> AsyncIterator[bytes]:
        block = os.urandom(2**20)
        for _ in range(300):
            yield block

    async with running_service(tmp_path / "media", shown(database_url)) as service:
        await service.http.post("/play/upload", content=wav(), headers=AUTH)
        before = resident()
        peak = 0

        async def watch() -> None:
            nonlocal peak
            while True:
                peak = max(peak, resident())
                await asyncio.sleep(0.02)

        watching = asyncio.create_task(watch())
        answer = await service.http.post("/play/upload", content=much(), headers=AUTH)
        watching.cancel()
    assert answer.status_code == 415
    assert peak - before < 48 * 2**20


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(("field", "status"), [('If-Match: "other"', 412), ("X-Nothing: 1", 404)])
async def test_a_replacement_that_cannot_be_is_refused_before_its_body(
    service: Service, field: str, status: int
) -> None:
    clip = (await service.http.put("/play/upload/a.wav", content=wav(), headers=AUTH)).json()["id"]
    if status == 404:
        await service.http.delete(f"/play/{clip}", headers=AUTH)
    answer = await asyncio.wait_for(
        service.raw(
            f"PUT /play/{clip}/audio HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n{field}\r\n"
            "Content-Type: audio/wav\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n".encode()
        ),
        60,
    )
    assert answer.startswith(b"HTTP/1.1 %d " % status)
