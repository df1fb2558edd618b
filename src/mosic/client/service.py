"""Requests to a service over HTTP. One that does not succeed raises an exception of `failures`."""

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
from mosic.client.failures import Redirected, ServiceFailed, TryAgain, failure_of

CONNECT_SECONDS = 15.0
# Without a byte sent or received. The service may have to write gigabytes to its disk before it responds.
TIMEOUT_SECONDS = 90.0

_PROBLEM_BYTES = 64 * 1024
_UNSENT_BYTES = 128 * 1024
_READ_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    headers: Mapping[str, str]
    body: bytes


class RequestOptions(TypedDict, total=False):
    """Of a request, beside its method and path: `body`, or a body of `chunks`."""

    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    chunks: AsyncIterator[bytes]


class StreamedResponse:
    """A response whose body arrives in blocks. Reading them raises the same as `Service.request`."""

    def __init__(self, service: Service, response: aiohttp.ClientResponse, limit: asyncio.Timeout) -> None:
        self._service = service
        self._response = response
        self._limit = limit
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for block in self._response.content.iter_chunked(_READ_BYTES):
            self._service.note_activity(self._limit)
            yield block


class Service:
    """An `async with` block. `activity` counts responses and transfers, which show that the service works."""

    _FIELDS: ClassVar[Mapping[str, str]] = {}

    def __init__(self, base: URL, api_key: str | None, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._base = base
        self._api_key = api_key
        self._timeout = timeout
        self._was_reached = False
        self.shown = str(base.with_user(None)).rstrip("/")
        self.activity = 0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, socket_factory=_socket),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            headers={"User-Agent": f"mosic/{__version__}"},
            # No proxy is used to reach this machine.
            trust_env=not is_local(self._base),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def request(self, method: str, path: str, **options: Unpack[RequestOptions]) -> Response:
        """The response with all of its body.

        Raises `NotFound`, `Refused` (`BodyTooLarge` too), `ServiceFailed`, `TryAgain`.
        """
        async with self.open(method, path, **options) as response:
            whole = bytearray()
            async for block in response:
                whole += block
            return Response(response.headers, bytes(whole))

    @asynccontextmanager
    async def open(
        self, method: str, path: str, **options: Unpack[RequestOptions]
    ) -> AsyncIterator[StreamedResponse]:
        """As `request`, for a body that may be large."""
        key = {} if self._api_key is None else {"X-API-Key": self._api_key}
        try:
            async with (
                asyncio.timeout(self._timeout) as limit,
                self._session.request(
                    method,
                    self._base.joinpath(*path.split("/")),
                    params=options.get("query"),
                    headers={**key, **self._FIELDS, **options.get("headers", {})},
                    data=self._noting_activity(options["chunks"], limit)
                    if "chunks" in options
                    else options.get("body"),
                    # A redirect may lead to another host, which must not get the key.
                    allow_redirects=False,
                ) as response,
            ):
                self._was_reached = True
                if response.status < 300:
                    self.note_activity(limit)
                    yield StreamedResponse(self, response, limit)
                    return
                if response.status < 400:
                    raise Redirected(
                        f"{self.shown} redirects to {_redirect_origin(response)}; is that the right URL?"
                    )
                problem = await _start_of_body(response)
        except aiohttp.ConnectionTimeoutError:
            raise self._unreachable(f"{self._authority} does not respond") from None
        except TimeoutError:
            raise TryAgain(f"no response from {self._authority}") from None
        except aiohttp.ClientSSLError as error:
            if isinstance(error.__cause__, ssl.SSLEOFError):
                raise TryAgain(self._described(error)) from error
            raise ServiceFailed(f"no secure connection to {self._authority}: {error.__cause__}") from error
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(self._described(error)) from error
        except aiohttp.ClientResponseError as error:
            raise self._unreachable(f"{self._authority} does not respond in HTTP") from error
        except (aiohttp.ClientError, OSError) as error:
            # A connection was open, so it was reached.
            self._was_reached = True
            raise TryAgain(self._described(error)) from error
        if response.status < 500:
            self.activity += 1
        raise failure_of(response.status, response.reason, response.headers, problem)

    def note_activity(self, limit: asyncio.Timeout) -> None:
        """Bytes were sent or received: restart the timeout."""
        self.activity += 1
        limit.reschedule(asyncio.get_running_loop().time() + self._timeout)

    async def _noting_activity(
        self, chunks: AsyncIterator[bytes], limit: asyncio.Timeout
    ) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            yield chunk
            self.note_activity(limit)

    def _unreachable(self, reason: str) -> TryAgain | ServiceFailed:
        """It is worth waiting for a service that was reached before, and not for one that never was."""
        if self._was_reached:
            return TryAgain(reason)
        return ServiceFailed(f"{reason}. Is the service running, and is {self.shown} its URL?")

    @property
    def _authority(self) -> str:
        return self._base.host_port_subcomponent or self.shown

    def _described(self, error: Exception) -> str:
        if isinstance(error, aiohttp.ClientConnectorError):
            # This may be a proxy, not the service.
            return f"cannot connect to {error.host}:{error.port}: {_detail(error.os_error)}"
        return f"the connection to {self._authority} was lost: {_detail(error)}"


def is_local(url: URL) -> bool:
    """Whether it leads to this machine."""
    host = url.host or ""
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.[0-9]{1,3}){3}", host) is not None


def not_mosic(url: str) -> str:
    """The message for a response that Mosic does not give."""
    return f"{url} does not respond as Mosic does; is this the right URL?"


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """With a small send buffer: megabytes in it would count as sent, and take a slow connection longer than
    the timeout."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
    return made


def _detail(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno) if error.errno > 0 else error.strerror or str(error)
    # aiohttp describes these in terms of its own.
    return (
        "it was closed"
        if isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError)
        else str(error)
    )


async def _start_of_body(response: aiohttp.ClientResponse) -> bytes:
    """Enough of the body of an error; the page of a proxy may have any length."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) >= _PROBLEM_BYTES:
            break
    return bytes(body)


def _redirect_origin(response: aiohttp.ClientResponse) -> str:
    """The origin that a redirect leads to: without user, password and path."""
    try:
        return str(response.url.join(URL(response.headers.get("Location", ""))).origin())
    except ValueError:
        return "nowhere"
