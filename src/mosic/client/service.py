"""A service, asked over HTTP.

Every request either gets what it asked for or ends in an exception of `verdict`, which says what to do next.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Self, TypedDict, Unpack

import aiohttp
from yarl import URL

from mosic import __version__
from mosic.client.verdict import Hopeless, Redirected, Trouble, verdict

CONNECT_SECONDS = 15.0
# How long the service may take to answer, and may take nothing of what is being sent. It may have to bring
# gigabytes to its disk before it answers.
PATIENCE_SECONDS = 90.0

_PROBLEM_BYTES = 64 * 1024
_UNSENT_BYTES = 128 * 1024
_READ_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    headers: Mapping[str, str]
    body: bytes


class Asked(TypedDict, total=False):
    """What a request may have beside its method and path: the `body`, or one of `chunks`."""

    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    chunks: AsyncIterator[bytes]


class Arriving:
    """An answer whose body is still to come, in blocks. They raise like `ask`."""

    def __init__(self, service: Service, answer: aiohttp.ClientResponse, limit: asyncio.Timeout) -> None:
        self._service = service
        self._answer = answer
        self._limit = limit
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for block in self._answer.content.iter_chunked(_READ_BYTES):
            self._service.show_life(self._limit)
            yield block


class Service:
    """Use it as an `async with` block. `signs_of_life` counts what shows that there is a service in order."""

    _FIELDS: ClassVar[Mapping[str, str]] = {}

    def __init__(self, base: URL, api_key: str | None, *, patience: float = PATIENCE_SECONDS) -> None:
        self._base = base
        self._api_key = api_key
        self._patience = patience
        self._was_reached = False
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

    async def ask(self, method: str, path: str, **asked: Unpack[Asked]) -> Answer:
        """The answer with all of its body.

        Raises `Missing`, `Refused` (`BodyTooLarge` too), `Hopeless`, `Trouble`.
        """
        async with self.open(method, path, **asked) as arriving:
            whole = bytearray()
            async for block in arriving:
                whole += block
            return Answer(arriving.headers, bytes(whole))

    @asynccontextmanager
    async def open(self, method: str, path: str, **asked: Unpack[Asked]) -> AsyncIterator[Arriving]:
        """As `ask`, for a body that may be large."""
        key = {} if self._api_key is None else {"X-API-Key": self._api_key}
        try:
            async with (
                asyncio.timeout(self._patience) as limit,
                self._session.request(
                    method,
                    self._base.joinpath(*path.split("/")),
                    params=asked.get("query"),
                    headers={**key, **self._FIELDS, **asked.get("headers", {})},
                    data=self._while_it_flows(asked["chunks"], limit)
                    if "chunks" in asked
                    else asked.get("body"),
                    # A redirect may lead to another host, which is not to see the key.
                    allow_redirects=False,
                ) as answer,
            ):
                self._was_reached = True
                if answer.status < 300:
                    self.show_life(limit)
                    yield Arriving(self, answer, limit)
                    return
                if answer.status < 400:
                    raise Redirected(f"{self.shown} redirects to {_target(answer)}; is that the right URL?")
                problem = await _beginning(answer)
        except aiohttp.ConnectionTimeoutError:
            raise self._unreachable(f"{self._authority} does not respond") from None
        except TimeoutError:
            raise Trouble(f"no response from {self._authority}") from None
        except aiohttp.ClientSSLError as error:
            if isinstance(error.__cause__, ssl.SSLEOFError):
                raise Trouble(self._in_words(error)) from error
            raise Hopeless(f"no secure connection to {self._authority}: {error.__cause__}") from error
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(self._in_words(error)) from error
        except aiohttp.ClientResponseError as error:
            raise self._unreachable(f"{self._authority} does not respond in HTTP") from error
        except (aiohttp.ClientError, OSError) as error:
            # It was, or this could not have happened to it.
            self._was_reached = True
            raise Trouble(self._in_words(error)) from error
        if answer.status < 500:
            self.signs_of_life += 1
        raise verdict(answer.status, answer.reason, answer.headers, problem)

    def show_life(self, limit: asyncio.Timeout) -> None:
        """Something has gone to the service, or come from it."""
        self.signs_of_life += 1
        limit.reschedule(asyncio.get_running_loop().time() + self._patience)

    async def _while_it_flows(
        self, chunks: AsyncIterator[bytes], limit: asyncio.Timeout
    ) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            yield chunk
            self.show_life(limit)

    def _unreachable(self, reason: str) -> Trouble | Hopeless:
        """A service that was there comes back; where there was none, nobody need wait for one."""
        if self._was_reached:
            return Trouble(reason)
        return Hopeless(f"{reason}. Is the service running, and is {self.shown} its URL?")

    @property
    def _authority(self) -> str:
        return self._base.host_port_subcomponent or self.shown

    def _in_words(self, error: Exception) -> str:
        if isinstance(error, aiohttp.ClientConnectorError):
            # Not always the service: it may be a proxy on the way that cannot be reached.
            return f"cannot connect to {error.host}:{error.port}: {_detail(error.os_error)}"
        return f"the connection to {self._authority} was lost: {_detail(error)}"


def is_local(address: URL) -> bool:
    """Whether it leads to this machine."""
    host = address.host or ""
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.[0-9]{1,3}){3}", host) is not None


def not_mosic(url: str) -> str:
    """What to say of an answer that Mosic does not give."""
    return f"{url} does not respond as Mosic does; is this the right URL?"


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
    return (
        "it was closed"
        if isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError)
        else str(error)
    )


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
