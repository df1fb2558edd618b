"""The service as a client sees it: is it there already, create, look, add (tus 1.0.0).

Every request either gets what it asked for or ends in an exception of `verdict`, which says what to do next.
"""

from __future__ import annotations

import asyncio
import base64
import json
import mimetypes
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from mosic import __version__
from mosic.cli.verdict import Hopeless, Refused, Trouble, UploadLost, verdict
from mosic.wire import tus
from mosic.wire.digest import digest_field

CONNECT_SECONDS = 15.0
# How long the service may take to answer, and may take nothing of what is being sent. It may have to bring
# gigabytes to its disk before it answers.
PATIENCE_SECONDS = 90.0

_UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PROBLEM_BYTES = 64 * 1024
_UNSENT_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class _Answer:
    headers: Mapping[str, str]
    body: bytes


class Server:
    """Use it as an `async with` block. `signs_of_life` counts what shows that there is a service in order."""

    def __init__(self, base: URL, api_key: str, *, patience: float = PATIENCE_SECONDS) -> None:
        self._base = base
        self._api_key = api_key
        self._patience = patience
        self.shown = str(base.with_user(None)).rstrip("/")
        self.signs_of_life = 0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, socket_factory=_socket),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            headers={"User-Agent": f"mosic/{__version__}"},
            # A proxy does not lead to this machine itself.
            trust_env=not is_local(self._base),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def has(self, sha256: str) -> bool:
        """Whether a clip with these bytes is there."""
        try:
            answer = await self._ask("GET", "play", query={"sha256": sha256})
            clips = json.loads(answer.body)
            return any(clip["sha256"] == sha256 for clip in clips)
        except (UploadLost, ValueError, KeyError, TypeError):
            raise Hopeless(
                f"{self.shown}/play does not answer as Mosic does; is this the right address?"
            ) from None

    async def create(self, size: int, file_name: str, sha256: str) -> str:
        """The id of a new upload of so many bytes, which the service is to verify."""
        media_type = mimetypes.guess_type(file_name)[0] or "application/octet-stream"
        # The bytes of the name as they are: the service makes the best of what is not UTF-8.
        metadata = {"filename": os.fsencode(file_name), "filetype": media_type.encode()}
        try:
            answer = await self._ask(
                "POST",
                "play/uploads",
                headers={
                    "Upload-Length": str(size),
                    "Repr-Digest": digest_field(bytes.fromhex(sha256)),
                    "Upload-Metadata": ",".join(
                        f"{name} {base64.b64encode(value).decode('ascii')}"
                        for name, value in metadata.items()
                    ),
                },
            )
        except UploadLost:
            raise Hopeless(f"{self.shown}/play/uploads does not take uploads") from None
        # Only the last part of the address: what the service believes to be its host and prefix may be wrong
        # behind a proxy, and the key goes nowhere but to the address that the person gave.
        upload_id = answer.headers.get("Location", "").rstrip("/").rpartition("/")[2]
        if not _UPLOAD_ID.fullmatch(upload_id):
            raise Hopeless(f"{self.shown}/play/uploads does not say where the upload is")
        return upload_id

    async def offset(self, upload_id: str, size: int) -> int:
        """How many bytes of the upload are there. Raises `UploadLost` for one of another size too."""
        try:
            answer = await self._ask("HEAD", f"play/uploads/{upload_id}")
        except Refused:
            # An answer to HEAD has no room for the reason.
            answer = await self._ask("GET", f"play/uploads/{upload_id}")
        if answer.headers.get("Upload-Length", str(size)) != str(size):
            raise UploadLost
        return _offset_of(answer, size)

    async def append(self, upload_id: str, offset: int, length: int, chunks: AsyncIterator[bytes]) -> int:
        """Send `length` bytes in one request; returns the offset after them, or after some of them."""
        answer = await self._ask(
            "PATCH",
            f"play/uploads/{upload_id}",
            headers={
                "Upload-Offset": str(offset),
                "Content-Type": tus.CONTENT_TYPE,
                "Content-Length": str(length),
            },
            chunks=chunks,
        )
        after = _offset_of(answer, offset + length)
        if after <= offset:
            raise Trouble("the service has taken nothing of what was sent")
        return after

    async def remove(self, upload_id: str) -> None:
        await self._ask("DELETE", f"play/uploads/{upload_id}")

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        chunks: AsyncIterator[bytes] | None = None,
    ) -> _Answer:
        """Raises `Refused` (`BodyTooLarge` too), `Hopeless`, `Trouble`, `UploadLost`."""
        try:
            async with (
                asyncio.timeout(self._patience) as limit,
                self._session.request(
                    method,
                    self._base.joinpath(*path.split("/")),
                    params=query,
                    headers={"X-API-Key": self._api_key, "Tus-Resumable": tus.VERSION, **(headers or {})},
                    data=None if chunks is None else self._while_it_flows(chunks, limit),
                    # A redirect may lead to another host, which is not to see the key.
                    allow_redirects=False,
                ) as answer,
            ):
                if answer.status < 300:
                    self.signs_of_life += 1
                    return _Answer(answer.headers, await answer.read())
                if answer.status < 400:
                    raise Hopeless(
                        f"{self.shown} redirects to {_target(answer)}; is that the address to give?"
                    )
                body = await _beginning(answer)
        except TimeoutError:
            raise Trouble(f"no answer from {self._authority}") from None
        except aiohttp.ClientSSLError as error:
            if isinstance(error.__cause__, ssl.SSLEOFError):
                raise Trouble(self._in_words(error)) from error
            raise Hopeless(f"no safe connection to {self._authority}: {error.__cause__}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Trouble(self._in_words(error)) from error
        if answer.status < 500:
            self.signs_of_life += 1
        raise verdict(answer.status, answer.reason, answer.headers, body)

    async def _while_it_flows(
        self, chunks: AsyncIterator[bytes], limit: asyncio.Timeout
    ) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        async for chunk in chunks:
            yield chunk
            self.signs_of_life += 1
            limit.reschedule(loop.time() + self._patience)

    @property
    def _authority(self) -> str:
        return self._base.host_port_subcomponent or self.shown

    def _in_words(self, error: Exception) -> str:
        if isinstance(error, aiohttp.ClientConnectorError):
            # Not always the service: it may be a proxy on the way that cannot be reached.
            return f"cannot connect to {error.host}:{error.port}: {_detail(error.os_error)}"
        return f"the connection to {self._authority} broke: {_detail(error)}"


def is_local(address: URL) -> bool:
    """Whether it leads to this machine."""
    host = address.host or ""
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.[0-9]{1,3}){3}", host) is not None


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """One that takes little ahead: the megabytes that it would take else are not sent, and on a slow line may
    take longer than anyone has patience for."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
    return made


def _detail(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno) if error.errno > 0 else error.strerror or str(error)
    # What aiohttp says of these is about itself.
    return "it was closed" if isinstance(error, aiohttp.ClientConnectionError) else str(error)


def _offset_of(answer: _Answer, most: int) -> int:
    text = answer.headers.get("Upload-Offset", "")
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= most):
        raise Trouble(f"the service says {text[:20]!r} of how much it has")
    return int(text)


async def _beginning(answer: aiohttp.ClientResponse) -> bytes:
    """Enough of a body that explains a refusal; nobody knows how long a proxy's page is."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) >= _PROBLEM_BYTES:
            break
    return bytes(body)


def _target(answer: aiohttp.ClientResponse) -> str:
    """Where a redirect leads, without what it may have of names and passwords."""
    try:
        return str(answer.url.join(URL(answer.headers.get("Location", ""))).origin())
    except ValueError:
        return "nowhere"
