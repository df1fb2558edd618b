"""Resumable uploads over HTTP, line by line of tus 1.0.0; sections are those of the specification."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
import re
import socket
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from blockbuster import BlockBuster
from sqlalchemy import URL

from mosic.postgres import EmbeddedPostgres
from tests.support.databases import empty_database, shown
from tests.support.service import AUTH, KEY, Service, running_service
from tests.support.sounds import wav
from tests.support.waiting import until

VERSION = {"Tus-Resumable": "1.0.0"}
OCTETS = {"Content-Type": "application/offset+octet-stream"}
UPLOADS = "/play/uploads"
NOBODY = f"{UPLOADS}/01935b7e-0000-7000-8000-000000000000"


def repr_digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


class Tus:
    """A client that holds every answer against what is true of all answers."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._partial: list[Partial] = []
        self._before = set(service.files())

    def partial(self, url: str, **options: Any) -> Partial:
        """A request whose body does not come whole."""
        request = Partial(self.service.port, url, **options)
        self._partial.append(request)
        return request

    async def close(self) -> None:
        for request in self._partial:
            await request.close()

    async def send(self, method: str, url: str, content: Any = None, **fields: str) -> httpx.Response:
        """`upload_offset="5"` is `Upload-Offset: 5`."""
        return await self.bare(method, url, content, **AUTH, **VERSION, **fields)

    async def bare(self, method: str, url: str, content: Any = None, **fields: str) -> httpx.Response:
        """Without the key and the version."""
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        answer = await self.service.http.request(method, url, content=content, headers=headers)
        if method != "OPTIONS":
            assert answer.headers["Tus-Resumable"] == "1.0.0"
        if answer.status_code >= 400 and method != "HEAD":
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["status"] == answer.status_code
        if answer.status_code >= 400:
            assert "Upload-Offset" not in answer.headers
        return answer

    async def create(self, length: int | None, **fields: str) -> str:
        fields |= {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        answer = await self.send("POST", UPLOADS, **fields)
        assert answer.status_code == 201
        return answer.headers["Location"]

    async def patch(self, url: str, offset: int, content: Any, **fields: str) -> httpx.Response:
        return await self.send("PATCH", url, content, upload_offset=str(offset), **OCTETS, **fields)

    async def offset(self, url: str) -> int:
        answer = await self.send("HEAD", url)
        assert answer.status_code == 200
        return int(answer.headers["Upload-Offset"])

    async def stream(self, answer: httpx.Response) -> bytes:
        """The bytes of the clip that the answer says it became."""
        location = answer.headers["Content-Location"]
        assert re.fullmatch(r"/play/[0-9a-f-]{36}", location)
        return (await self.service.http.get(f"{location}/stream")).content

    async def clips(self, audio: bytes) -> list[Any]:
        """Those with these bytes."""
        sha256 = hashlib.sha256(audio).hexdigest()
        return list((await self.service.http.get(f"/play?sha256={sha256}")).json())

    def staged(self) -> int:
        """Bytes on the disk of the one upload that this client is at."""
        return sum(path.stat().st_size for path in self.files() if path.suffix == ".upload")

    def files(self) -> list[Path]:
        """What came to the disk since this client began."""
        return sorted(set(self.service.files()) - self._before)


class Partial:
    """A request over a bare socket, as far as one cares to send it."""

    def __init__(
        self,
        port: int,
        url: str,
        *,
        declared: int | None,
        offset: int = 0,
        extra: str = "",
        method: str = "PATCH",
    ) -> None:
        framing = f"Content-Length: {declared}" if declared is not None else "Transfer-Encoding: chunked"
        self._head = (
            f"{method} {url} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nTus-Resumable: 1.0.0\r\n"
            f"Content-Type: application/offset+octet-stream\r\nUpload-Offset: {offset}\r\n"
            f"{framing}\r\n{extra}\r\n"
        ).encode()
        self._port = port
        self.writer: asyncio.StreamWriter | None = None

    async def begin(self, content: bytes = b"") -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        await self.send(self._head + content)

    async def send(self, content: bytes) -> None:
        assert self.writer
        self.writer.write(content)
        await self.writer.drain()

    async def abort(self) -> None:
        """As when a process is killed with bytes unread: the peer gets a reset."""
        assert self.writer
        connection: socket.socket = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self.close()

    async def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            with contextlib.suppress(ConnectionError):
                await self.writer.wait_closed()

    async def status(self) -> int:
        line = await asyncio.wait_for(self.reader.readline(), 10)
        return int(line.split()[1])


@pytest.fixture(scope="module")
async def shared(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """One service for all tests that need nothing special: each has audio of its own."""
    media_root = tmp_path_factory.mktemp("tus") / "media"
    async with empty_database(postgres) as url, running_service(media_root, url) as service:
        yield service


@pytest.fixture
async def tus(shared: Service) -> AsyncIterator[Tus]:
    client = Tus(shared)
    yield client
    await client.close()


_seeds = itertools.count()


def fresh(seconds: float = 0.2) -> bytes:
    """Audio that no other test has."""
    return wav(seconds, seed=next(_seeds))


def encoded(**values: str) -> str:
    return ",".join(f"{key} {base64.b64encode(text.encode()).decode()}" for key, text in values.items())


def checksum(algorithm: str, content: bytes) -> str:
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, content).digest()).decode()}"


async def chunked(*chunks: bytes, seconds: float = 0) -> AsyncIterator[bytes]:
    """A body that does not say how long it is."""
    for chunk in chunks:
        yield chunk
        await asyncio.sleep(seconds)


# Core protocol: OPTIONS


@pytest.mark.parametrize("path", [UPLOADS, f"{UPLOADS}/", NOBODY, "/clips/uploads", "/api/v1/clips/uploads"])
async def test_options_tells_what_is_spoken_to_everybody(tus: Tus, path: str) -> None:
    answer = await tus.bare("OPTIONS", path, tus_resumable="0.2.2")
    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert set(answer.headers["Tus-Extension"].split(",")) == {
        "creation",
        "creation-with-upload",
        "creation-defer-length",
        "checksum",
        "expiration",
        "termination",
    }
    assert answer.headers["Tus-Checksum-Algorithm"].split(",") == ["sha1", "sha256"]
    assert int(answer.headers["Tus-Max-Size"]) == tus.service.settings.max_upload_bytes


# The version and the key, of every verb


VERBS = [("POST", UPLOADS), ("HEAD", NOBODY), ("PATCH", NOBODY), ("DELETE", NOBODY), ("GET", NOBODY)]


@pytest.mark.parametrize("version", [None, "0.2.2", "1.0", "1.0.0, 1.0.0"])
@pytest.mark.parametrize(("method", "path"), VERBS[:-1])
async def test_another_version_is_refused(tus: Tus, method: str, path: str, version: str | None) -> None:
    headers = {**AUTH, "Upload-Length": "5", "Upload-Offset": "0", **OCTETS}
    if version is not None:
        headers["Tus-Resumable"] = version
    answer = await tus.service.http.request(method, path, headers=headers)
    assert answer.status_code == 412
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert "Location" not in answer.headers


@pytest.mark.parametrize("key", [None, "wrong"])
@pytest.mark.parametrize(("method", "path"), VERBS)
async def test_no_verb_without_the_key(tus: Tus, method: str, path: str, key: str | None) -> None:
    fields = {} if key is None else {"X-API-Key": key}
    answer = await tus.bare(method, path, upload_length="5", **VERSION, **fields)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "ApiKey"


async def test_the_key_is_checked_before_the_body_is_read(tus: Tus) -> None:
    """The answer comes while the sender still holds its body back, and no «100 Continue» before it."""
    head = (
        f"PATCH {NOBODY} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        "Content-Type: application/offset+octet-stream\r\nContent-Length: 1000000\r\n"
        "Expect: 100-continue\r\n\r\n"
    )
    answer = await tus.service.raw(head.encode())
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_who_may_write_is_told_to_go_on(tus: Tus) -> None:
    url = await tus.create(5)
    request = tus.partial(url, declared=5, extra="Expect: 100-continue\r\n")
    await request.begin()
    assert await request.reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    await request.abort()


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


# PATCH


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


# Repr-Digest (RFC 9530), which is not part of tus


@pytest.mark.parametrize("pieces", [1, 3])
async def test_declared_bytes_that_come_become_a_clip(tus: Tus, pieces: int) -> None:
    audio = fresh()
    url = await tus.create(len(audio), repr_digest=repr_digest(audio))
    size = -(-len(audio) // pieces)
    answers = [await tus.patch(url, at, audio[at : at + size]) for at in range(0, len(audio), size)]
    assert {answer.status_code for answer in answers} == {204}
    assert await tus.stream(answers[-1]) == audio


@pytest.mark.parametrize("pieces", [1, 3])
async def test_other_bytes_than_declared_are_refused_and_not_kept(tus: Tus, pieces: int) -> None:
    audio = fresh()
    url = await tus.create(len(audio), repr_digest=repr_digest(audio[:-1] + b"?"))
    size = -(-len(audio) // pieces)
    answers = [await tus.patch(url, at, audio[at : at + size]) for at in range(0, len(audio), size)]
    assert (answers[-1].status_code, answers[-1].json()["code"]) == (400, "digest-mismatch")
    assert tus.files() == []
    assert await tus.clips(audio) == []
    assert (await tus.send("HEAD", url)).status_code == 400
    assert (await tus.patch(url, 0, audio)).json()["code"] == "digest-mismatch"


async def test_a_digest_with_the_whole_file(tus: Tus) -> None:
    audio = fresh()
    fields = {"upload_length": str(len(audio)), **OCTETS}
    wrong = await tus.send("POST", UPLOADS, audio, repr_digest=repr_digest(b""), **fields)
    assert (wrong.status_code, wrong.json()["code"]) == (400, "digest-mismatch")
    assert tus.files() == []
    right = await tus.send("POST", UPLOADS, audio, repr_digest=repr_digest(audio), **fields)
    assert right.status_code == 201
    assert await tus.stream(right) == audio


async def test_a_digest_that_cannot_be_read(tus: Tus) -> None:
    answer = await tus.send("POST", UPLOADS, upload_length="5", repr_digest="sha-256=abc")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
async def test_other_methods_where_uploads_are_created(tus: Tus, method: str) -> None:
    answer = await tus.send(method, UPLOADS)
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"OPTIONS", "POST"}


# X-HTTP-Method-Override


async def test_the_overriding_method_counts(tus: Tus) -> None:
    audio = fresh()
    url = await tus.create(len(audio))
    answer = await tus.send("POST", url, audio, x_http_method_override="PATCH", upload_offset="0", **OCTETS)
    assert answer.status_code == 204
    looked = await tus.send("POST", url, x_http_method_override="HEAD")
    assert looked.headers["Upload-Offset"] == str(len(audio))
    assert (await tus.send("GET", url, x_http_method_override="DELETE")).status_code == 204
    refused = await tus.send("POST", url, x_http_method_override="GET")
    assert refused.json()["code"] == "upload-not-found"
    assert (await tus.send("POST", url, x_http_method_override="BREW")).status_code == 405


# Expiration


@pytest.fixture
async def brief(tmp_path: Path, database_url: URL) -> AsyncIterator[Tus]:
    """Uploads expire after a second."""
    async with running_service(tmp_path / "media", shown(database_url), upload_expiry_seconds=1) as service:
        yield Tus(service)


async def test_what_expires_says_when_and_is_gone_then(brief: Tus) -> None:
    url = await brief.create(100)
    answer = await brief.patch(url, 0, b"x")
    expires = parsedate_to_datetime(answer.headers["Upload-Expires"])
    assert timedelta(seconds=-1) <= expires - datetime.now(UTC) <= timedelta(seconds=2)
    await asyncio.sleep(1.1)
    for method in ("HEAD", "GET", "DELETE"):
        assert (await brief.send(method, url)).status_code == 410
    gone = await brief.patch(url, 1, b"x")
    assert (gone.status_code, gone.json()["code"]) == (410, "upload-gone")


async def test_what_goes_on_does_not_expire(brief: Tus) -> None:
    audio = fresh()
    url = await brief.create(len(audio))
    for at in range(3):
        assert (await brief.patch(url, at, audio[at : at + 1])).status_code == 204
        await asyncio.sleep(0.5)
    # Also within one request that takes longer.
    pieces = [audio[3:100], audio[100:200], audio[200:]]
    ended = await brief.patch(url, 3, chunked(*pieces, seconds=0.5))
    assert ended.status_code == 204
    assert "Upload-Expires" not in ended.headers
    await asyncio.sleep(1.1)
    assert (await brief.send("HEAD", url)).headers["Content-Location"] == ended.headers["Content-Location"]


async def test_every_answer_while_it_will_expire_says_so(tus: Tus) -> None:
    answer = await tus.send("POST", UPLOADS, upload_length="100")
    assert "Upload-Expires" in answer.headers
    assert "Upload-Expires" in (await tus.patch(answer.headers["Location"], 0, b"x")).headers


# Termination


async def test_what_is_ended_is_gone(tus: Tus) -> None:
    url = await tus.create(100)
    await tus.patch(url, 0, b"x")
    assert (await tus.send("DELETE", url)).status_code == 204
    assert tus.files() == []
    for method in ("HEAD", "GET", "DELETE"):
        assert (await tus.send(method, url)).status_code == 404
    assert (await tus.patch(url, 1, b"x")).status_code == 404


async def test_ending_a_finished_one_keeps_its_clip(tus: Tus) -> None:
    audio = fresh()
    url = await tus.create(len(audio))
    ended = await tus.patch(url, 0, audio)
    assert (await tus.send("DELETE", url)).status_code == 204
    assert (await tus.send("HEAD", url)).status_code == 404
    assert await tus.stream(ended) == audio


async def test_an_upload_goes_with_the_clip_that_it_became(tus: Tus) -> None:
    audio = fresh()
    url = await tus.create(len(audio))
    ended = await tus.patch(url, 0, audio)
    await tus.service.http.delete(ended.headers["Content-Location"], headers=AUTH)
    assert (await tus.send("HEAD", url)).status_code == 404


async def test_who_writes_is_interrupted_by_the_end(tus: Tus) -> None:
    url = await tus.create(1000)
    writer = tus.partial(url, declared=1000)
    await writer.begin(bytes(500))
    await asyncio.sleep(0.1)
    assert await tus.offset(url) == 500
    assert (await tus.send("DELETE", url)).status_code == 204
    assert await writer.status() in (404, 410, 423)
    assert tus.files() == []


@pytest.mark.parametrize("name", ["", "/x", "/..%2f..%2fetc", "/not-a-uuid", "/" + "0" * 300])
async def test_names_that_are_no_uploads(tus: Tus, name: str) -> None:
    for method in ("HEAD", "DELETE"):
        answer = await tus.send(method, UPLOADS + name)
        assert answer.status_code in (404, 405)


# Where the Location leads


@pytest.mark.parametrize("prefix", ["/play", "/clips", "/api/v1/clips"])
async def test_the_location_is_absolute_and_keeps_the_prefix(tus: Tus, prefix: str) -> None:
    answer = await tus.send("POST", f"{prefix}/uploads/", upload_length="5")
    assert re.fullmatch(rf"{tus.service.url}{prefix}/uploads/[0-9a-f-]{{36}}", answer.headers["Location"])
    assert await tus.offset(answer.headers["Location"]) == 0


# Connections that break, and who comes after


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_what_came_before_a_connection_broke_is_kept(tus: Tus, how: str) -> None:
    audio = fresh(20)
    url = await tus.create(len(audio))
    broken = tus.partial(url, declared=len(audio))
    await broken.begin(audio[:200_000])
    if how == "abort":
        # The system throws away what was not read from a connection that is reset.
        await until(lambda: tus.staged() == 200_000)
        await broken.abort()
    else:
        await broken.close()
    offset = await tus.offset(url)
    assert offset == 200_000
    ended = await tus.patch(url, offset, audio[offset:])
    assert ended.status_code == 204
    assert await tus.stream(ended) == audio


async def test_a_piece_with_a_checksum_counts_whole_or_not_at_all(tus: Tus) -> None:
    url = await tus.create(1000)
    extra = f"Upload-Checksum: {checksum('sha1', bytes(500))}\r\n"
    broken = tus.partial(url, declared=500, extra=extra)
    await broken.begin(bytes(400))
    await asyncio.sleep(0.5)
    await broken.abort()
    assert await tus.offset(url) == 0
    assert (await tus.patch(url, 0, bytes(500))).status_code == 204


async def test_whole_although_the_last_chunk_was_not_ended(tus: Tus) -> None:
    audio = fresh()
    url = await tus.create(len(audio))
    broken = tus.partial(url, declared=None)
    await broken.begin(f"{len(audio):x}\r\n".encode() + audio)
    await until(lambda: tus.staged() == len(audio))
    await broken.abort()
    answer = await tus.send("HEAD", url)
    assert answer.headers["Upload-Offset"] == str(len(audio))
    assert await tus.stream(answer) == audio


@pytest.mark.parametrize("sent", [0, 1, 300_000, 3_000_000])
async def test_a_stalled_writer_is_taken_over_within_a_second(tus: Tus, sent: int) -> None:
    """Its connection is as dead as one can be without anybody being told."""
    audio = fresh(200)
    assert len(audio) > 3_000_000
    url = await tus.create(len(audio))
    stalled = tus.partial(url, declared=len(audio))
    await stalled.begin(audio[:sent])
    await asyncio.sleep(0.1)
    # As a client does that comes back: it looks, and goes on from there.
    looked = asyncio.get_running_loop().time()
    offset = await tus.offset(url)
    assert offset == sent
    ended = await tus.patch(url, offset, audio[offset:])
    assert ended.status_code == 204
    assert asyncio.get_running_loop().time() - looked < 2.5
    assert await tus.stream(ended) == audio
    assert await stalled.status() == 423
    await stalled.close()


async def test_a_living_writer_is_not_taken_over(tus: Tus) -> None:
    audio = fresh(0.5)
    url = await tus.create(len(audio))
    pieces = [audio[at : at + 1000] for at in range(0, len(audio), 1000)]
    living = asyncio.create_task(tus.patch(url, 0, chunked(*pieces, seconds=0.2)))
    await asyncio.sleep(0.1)
    assert (await tus.patch(url, 0, audio)).status_code == 409
    middle = await tus.offset(url)
    assert 0 < middle < len(audio)
    ended = await living
    assert ended.status_code == 204
    assert await tus.stream(ended) == audio


@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.parametrize("size", [1, 70_000, 3_000_000])
async def test_of_many_writers_at_one_offset_one_wins(tus: Tus, count: int, size: int) -> None:
    url = await tus.create(10_000_000)
    bodies = [bytes([65 + n]) * size for n in range(count)]
    answers = await asyncio.gather(*(tus.patch(url, 0, body) for body in bodies))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(204) == 1
    assert set(statuses) <= {204, 409, 423}
    assert await tus.offset(url) == size
    # What is there is the winner's, and only the winner's.
    (staged,) = [path for path in tus.files() if path.suffix == ".upload"]
    assert staged.read_bytes() == bodies[statuses.index(204)]


async def test_other_requests_go_on_while_an_upload_is_received(tus: Tus) -> None:
    """Nobody holds a connection to the database, of which there are four."""
    urls = [await tus.create(1000) for _ in range(12)]
    stalled = [tus.partial(url, declared=1000) for url in urls]
    for request in stalled:
        await request.begin(bytes(10))
    await asyncio.sleep(0.3)
    async with asyncio.timeout(2):
        assert await tus.clips(b"") == []
    for request in stalled:
        await request.close()


async def test_a_sender_that_stalls_is_told_to_go_on(tmp_path: Path, database_url: URL) -> None:
    """By a status after which clients do: tus-js-client gives up after a 408."""
    async with running_service(tmp_path / "media", shown(database_url), upload_idle_seconds=0.3) as service:
        tus = Tus(service)
        url = await tus.create(1000)
        stalled = tus.partial(url, declared=1000)
        await stalled.begin(bytes(500))
        assert await stalled.status() == 503
        assert await tus.offset(url) == 500
        await tus.close()


async def test_nothing_blocks_the_loop(tus: Tus) -> None:
    buster = BlockBuster("mosic")
    buster.activate()
    try:
        audio = fresh(20)
        url = await tus.create(len(audio))
        piece = audio[:1000]
        assert (await tus.patch(url, 0, piece, upload_checksum=checksum("sha1", piece))).status_code == 204
        stalled = tus.partial(url, declared=len(audio) - 1000, offset=1000)
        await stalled.begin(audio[1000:5000])
        await asyncio.sleep(0.1)
        ended = await tus.patch(url, await tus.offset(url), audio[5000:])
        assert await tus.stream(ended) == audio
        assert (await tus.send("DELETE", url)).status_code == 204
    finally:
        buster.deactivate()


async def test_metrics_know_uploads_by_their_route_and_outcome(tus: Tus) -> None:
    url = await tus.create(4)
    assert (await tus.patch(url, 0, b"text")).status_code == 415
    shown_metrics = (await tus.service.http.get("/metrics")).text
    assert 'mosic_uploads_total{outcome="unsupported-media"}' in shown_metrics
    labels = 'method="PATCH",route="/play/uploads/{upload_id}",status="415"'
    assert f"mosic_total_api_requests_total{{{labels}}}" in shown_metrics
    assert url.rpartition("/")[2] not in shown_metrics
