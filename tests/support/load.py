"""Clients that upload, delete, edit and listen all at once, and keep a ledger of what they were told."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import random
import wave
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.house import KEY

AUTH = {"X-API-Key": KEY}
TUS = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
# What a client may be told while everything around it dies. Above all never 500.
EXPECTED = {200, 201, 204, 404, 503}


@dataclass
class Resumable:
    """An upload that its client has not seen the end of. The service said that it has `acked` bytes."""

    path: str
    content: bytes
    acked: int = 0


@dataclass
class Ledger:
    """What clients sent and what they were told, over all rounds."""

    sent: set[str] = field(default_factory=set)
    """The sha256 of whatever any client began to send."""
    promised: dict[str, str] = field(default_factory=dict)
    """Clip id → sha256, of clips that a client was told are there and that nobody asked to delete."""
    doubtful: dict[str, str] = field(default_factory=dict)
    """Clip id → sha256, of clips whose DELETE was not answered."""
    deleted: dict[str, str] = field(default_factory=dict)
    repeated: set[str] = field(default_factory=set)
    """The sha256 of whatever was sent more than once: an upload brings a clip back from the trash."""
    unwanted: set[str] = field(default_factory=set)
    """The sha256 of whatever somebody asked to delete."""
    titles: dict[str, set[str]] = field(default_factory=dict)
    """Clip id → the titles it may have."""
    resumable: list[Resumable] = field(default_factory=list)
    heard: set[str] = field(default_factory=set)
    """Clips whose bytes were compared. They are not all compared again in each round, which takes long."""
    answers: Counter[int] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)
    """Requests without an answer, by method."""

    def gone(self) -> set[str]:
        """The clips that cannot be there: deleted, and not sent again before or behind that."""
        return {clip_id for clip_id, sha256 in self.deleted.items() if sha256 not in self.repeated}


class Load:
    """Clients that work against one service until it dies."""

    def __init__(self, http: httpx.AsyncClient, ledger: Ledger, rng: random.Random) -> None:
        self._http, self._ledger, self._rng = http, ledger, rng

    async def run(self) -> None:
        clients = [self._upload() for _ in range(3)] + [
            *(self._upload_resumably() for _ in range(2)),
            *(self._delete(), self._edit(), self._listen()),
        ]
        await asyncio.gather(*(self._until_dead(client) for client in clients))

    async def _until_dead(self, client: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(httpx.TransportError):
            await client

    async def _ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, **request: Any
    ) -> httpx.Response:
        try:
            answer = await self._http.request(method, path, headers=AUTH | (headers or {}), **request)
        except httpx.TransportError:
            self._ledger.cut[method] += 1
            raise
        self._ledger.answers[answer.status_code] += 1
        assert answer.status_code in EXPECTED, answer.text
        if answer.status_code == 503:
            await asyncio.sleep(0.05)
        return answer

    async def _upload(self) -> None:
        content = sound(self._rng)
        while True:
            # Now and then the same bytes again.
            if self._rng.random() < 0.9:
                content = sound(self._rng)
            sha256 = hashlib.sha256(content).hexdigest()
            if sha256 in self._ledger.sent:
                self._ledger.repeated.add(sha256)
            self._ledger.sent.add(sha256)
            match self._rng.choice(["form", "raw", "slow"]):
                case "form":
                    answer = await self._ask("POST", "/play/upload", files={"file": ("a.wav", content)})
                case "raw":
                    answer = await self._ask("PUT", "/play/upload", content=content)
                case _:
                    answer = await self._ask("POST", "/play/upload", content=self._slowly(content))
            if answer.status_code in (200, 201):
                clip = answer.json()
                assert clip["sha256"] == sha256
                self._promised(clip["id"], sha256)

    def _promised(self, clip_id: str, sha256: str) -> None:
        if clip_id not in self._ledger.doubtful.keys() | self._ledger.deleted.keys():
            self._ledger.promised[clip_id] = sha256

    async def _upload_resumably(self) -> None:
        """Those that were cut off in an earlier round first."""
        while True:
            if self._ledger.resumable:
                upload = self._ledger.resumable.pop(0)
            else:
                content = sound(self._rng)
                self._ledger.sent.add(hashlib.sha256(content).hexdigest())
                length = {"Upload-Length": str(len(content))}
                answer = await self._ask("POST", "/play/uploads", TUS | length)
                if answer.status_code != 201:
                    continue
                upload = Resumable(httpx.URL(answer.headers["location"]).path, content)
            try:
                await self.resume(upload)
            except httpx.TransportError:
                self._ledger.resumable.append(upload)
                raise

    async def resume(self, upload: Resumable) -> None:
        """Send the rest. Of what the service has acknowledged nothing may be lost."""
        while True:
            answer = await self._ask("HEAD", upload.path, TUS)
            if answer.status_code == 404:
                # It ended without its client hearing of it, was listed, and then deleted.
                assert hashlib.sha256(upload.content).hexdigest() in self._ledger.unwanted
                return
            if answer.status_code != 200:
                continue
            offset = int(answer.headers["upload-offset"])
            assert upload.acked <= offset <= len(upload.content)
            if offset == len(upload.content):
                clip_id = answer.headers["content-location"].rpartition("/")[2]
                self._promised(clip_id, hashlib.sha256(upload.content).hexdigest())
                return
            piece = upload.content[offset : offset + self._rng.randint(1, len(upload.content))]
            headers = TUS | {"Upload-Offset": str(offset)}
            if self._rng.random() < 0.5:
                digest = base64.b64encode(hashlib.sha256(piece).digest()).decode()
                headers["Upload-Checksum"] = f"sha256 {digest}"
            answer = await self._ask("PATCH", upload.path, headers, content=self._slowly(piece))
            if answer.status_code == 204:
                upload.acked = int(answer.headers["upload-offset"])
                assert upload.acked == offset + len(piece)

    async def _slowly(self, content: bytes) -> AsyncIterator[bytes]:
        step = max(1, len(content) // 5)
        for start in range(0, len(content), step):
            yield content[start : start + step]
            await asyncio.sleep(self._rng.uniform(0, 0.02))

    async def _delete(self) -> None:
        while True:
            await asyncio.sleep(self._rng.uniform(0, 0.03))
            if len(self._ledger.promised) < 10:
                await self._ask("GET", "/health")
                continue
            clip_id = self._rng.choice(list(self._ledger.promised))
            sha256 = self._ledger.promised.pop(clip_id)
            self._ledger.unwanted.add(sha256)
            self._ledger.doubtful[clip_id] = sha256
            answer = await self._ask("DELETE", f"/play/{clip_id}")
            if answer.status_code == 204:
                del self._ledger.doubtful[clip_id]
                self._ledger.deleted[clip_id] = sha256

    async def _edit(self) -> None:
        while True:
            await asyncio.sleep(self._rng.uniform(0, 0.05))
            if not self._ledger.promised:
                await self._ask("GET", "/health")
                continue
            clip_id = self._rng.choice(list(self._ledger.promised))
            title = f"{self._rng.random()}"
            self._ledger.titles.setdefault(clip_id, {"Untitled", "a"}).add(title)
            answer = await self._ask("PATCH", f"/play/{clip_id}", json={"title": title})
            if answer.status_code == 200:
                self._ledger.titles[clip_id] = {title}

    async def _listen(self) -> None:
        """What is listed at any moment can be had whole, unless it is deleted meanwhile."""
        while True:
            answer = await self._ask("GET", "/play?limit=20")
            if answer.status_code == 200 and answer.json():
                clip = self._rng.choice(answer.json())
                assert clip["sha256"] in self._ledger.sent
                stream = await self._ask("GET", f"/play/{clip['id']}/stream")
                if stream.status_code == 200:
                    assert hashlib.sha256(stream.content).hexdigest() == clip["sha256"]


def sound(rng: random.Random) -> bytes:
    """Of noise, so that no two are equal: mostly short, some large enough to be killed half-way."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44100)
        file.writeframes(rng.randbytes(4 * rng.choice([100, 1000, 10_000, 10_000, 500_000])))
    return out.getvalue()
