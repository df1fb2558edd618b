"""A client of resumable uploads that speaks tus 1.0.0, and holds every answer against what is true of all."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx

from tests.support.resets import reset_when_closed
from tests.support.service import AUTH, KEY, Service
from tests.support.sounds import wav

VERSION = {"Tus-Resumable": "1.0.0"}
OCTETS = {"Content-Type": "application/offset+octet-stream"}
UPLOADS = "/play/uploads"
NOBODY = f"{UPLOADS}/01935b7e-0000-7000-8000-000000000000"


_seeds = itertools.count()


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

    async def age(self, url: str, seconds: float) -> datetime:
        """Let so much time go by for an upload, and say when it expires now."""
        database = self.service.settings.database_url_override
        assert database
        connection = await asyncpg.connect(database.get_secret_value())
        statement = "UPDATE uploads SET expires_at = expires_at - $1::interval WHERE id = $2"
        try:
            found: datetime = await connection.fetchval(
                f"{statement} RETURNING expires_at",
                timedelta(seconds=seconds),
                UUID(url.rpartition("/")[2]),
            )
        finally:
            await connection.close()
        return found

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
        reset_when_closed(self.writer)
        await self.close()

    async def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            with contextlib.suppress(ConnectionError):
                await self.writer.wait_closed()

    async def status(self) -> int:
        line = await asyncio.wait_for(self.reader.readline(), 60)
        return int(line.split()[1])


def fresh(seconds: float = 0.2) -> bytes:
    """Audio that no other test has."""
    return wav(seconds, seed=next(_seeds))


def encoded(**values: str) -> str:
    return ",".join(f"{key} {base64.b64encode(text.encode()).decode()}" for key, text in values.items())


def checksum(algorithm: str, content: bytes) -> str:
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, content).digest()).decode()}"


def repr_digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


async def chunked(*chunks: bytes, seconds: float = 0) -> AsyncIterator[bytes]:
    """A body that does not say how long it is."""
    for chunk in chunks:
        yield chunk
        await asyncio.sleep(seconds)
