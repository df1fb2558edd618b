"""Guarded fetch of external audio: the one place from which this service sends requests to strangers.

It checks in three places. The text of each URL is checked (`wire.addresses`), also of each redirect; a host
is resolved once, for the connection that is about to be made, and only allowed IP addresses are passed on;
and no socket is opened for an IP address that is not allowed. So a host that resolves differently each time
gains nothing, and a kept-alive connection still goes to the IP address that was checked.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv6Address, ip_address, ip_network
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from mosic.errors import RemoteFailed, RemoteRefused, RemoteTimeout
from mosic.wire import addresses, upstream
from mosic.wire.retrieval import Retrieval

MAX_REDIRECTS = 5
_CHECK_SECONDS = 2.0
_READ_BUFFER = 64 * 1024
_LOGGED = 200
_log = structlog.get_logger("mosic.remote")
# The first that matches; the log has the details.
_MESSAGES: tuple[tuple[type[Exception], type[RemoteFailed | RemoteTimeout], str], ...] = (
    (TimeoutError, RemoteTimeout, "The external source did not respond in time."),
    (RemoteRefused, RemoteFailed, "The external URL, or a redirect of it, is not allowed."),
    (aiohttp.ClientConnectorDNSError, RemoteFailed, "The name of the external source could not be resolved."),
    (aiohttp.ClientSSLError, RemoteFailed, "A secure connection to the external source could not be made."),
    (aiohttp.ClientConnectorError, RemoteFailed, "The external source could not be reached."),
    (Exception, RemoteFailed, "The external source sent an invalid response."),
)

_WHOLE = Retrieval("GET")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) → IP addresses as text; raises OSError when there are none."""


class RemoteResponse:
    """A response of the source, checked and ready to be passed on.

    `head.status` is 200, 206, 304, 412 or 416; `body` gives the bytes and is empty for a HEAD and for all but
    200 and 206. The body reads at most about 400 KiB ahead of its consumer; it raises `RemoteFailed` when
    the connection is lost and `RemoteTimeout` when it stalls. The caller must `close` it, also in the middle
    of the body; closing twice does no harm.
    """

    def __init__(
        self,
        head: upstream.UpstreamResponse,
        response: aiohttp.ClientResponse | None = None,
        timeout_seconds: float = 0,
    ) -> None:
        self.head = head
        self.body = self._read(response.content, timeout_seconds) if response else _nothing()
        self._response = response

    async def _read(self, content: aiohttp.StreamReader, timeout_seconds: float) -> AsyncIterator[bytes]:
        try:
            while True:
                # aiohttp (3.14) waits without a timeout after a malformed chunk.
                async with asyncio.timeout(timeout_seconds):
                    chunk = await content.readany()
                if not chunk:
                    return
                yield chunk
        except TimeoutError:
            raise RemoteTimeout("The external source sent nothing for too long.") from None
        # aiohttp raises RuntimeError for a connection that is gone.
        except (aiohttp.ClientError, OSError, RuntimeError):
            raise RemoteFailed("The connection to the external source was lost.") from None
        finally:
            await self.close()

    async def close(self) -> None:
        """Release the connection when the body was read to its end, otherwise close it."""
        response, self._response = self._response, None
        if response is not None:
            _cut(response)


class Remote:
    """Fetches external audio. Use it as an async context manager, or `start` and `close` it.

    `timeout_seconds` bounds the time until a response has begun, redirects included, and then each wait for
    more bytes. `also_allow` names addresses or networks (`192.168.4.0/24`) that may be fetched from although
    they are not public; `allow_private` names all private ones and loopback. `resolve` stands in for DNS and
    `tls` for the system's certificate authorities. Connections over the limits wait for others to end.
    """

    def __init__(
        self,
        *,
        allow_private: bool,
        timeout_seconds: float,
        also_allow: Iterable[str] = (),
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
        connections: int = 400,
        connections_per_host: int = 100,
    ) -> None:
        private = addresses.PRIVATE_NETWORKS if allow_private else ()
        self._opened = (*private, *(ip_network(network) for network in also_allow))
        self._timeout = timeout_seconds
        # Not the loop's own threads: look-ups that hang must not block other work there.
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="mosic-dns")
        self._resolve = resolve or self._resolve_by_dns
        self._tls = tls
        self._connections = connections
        self._connections_per_host = connections_per_host
        self._session: aiohttp.ClientSession | None = None
        self._open_responses: WeakSet[RemoteResponse] = WeakSet()

    async def start(self) -> None:
        """Get ready; needs the running loop that will be used."""
        connector = aiohttp.TCPConnector(
            resolver=_Guard(self._resolve, self._opened),
            socket_factory=self._open_socket,
            use_dns_cache=False,
            ssl=self._tls or True,
            limit=self._connections,
            limit_per_host=self._connections_per_host,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "Mosic", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None),  # `open` and the body have timeouts
            trust_env=False,
            auto_decompress=False,
            read_bufsize=_READ_BUFFER,
            max_line_size=8190,
            max_field_size=8190,
            max_headers=64,
        )

    async def close(self) -> None:
        """Close every connection; a body that is still being read raises `RemoteFailed`."""
        # Closing only the session would leave readers waiting for ever.
        for response in tuple(self._open_responses):
            await response.close()
        if self._session is not None:
            await self._session.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def check(self, url: str) -> None:
        """Raise `RemoteRefused` when this URL would never be fetched.

        A host that DNS does not know now passes: it may exist later, and `open` checks again.
        """
        target = addresses.check_url(url, self._opened)
        if target.literal is not None:
            return
        try:
            async with asyncio.timeout(min(_CHECK_SECONDS, self._timeout)):
                found = await self._resolve(target.host, target.port)
        except OSError:
            return
        if found and not _allowed(found, self._opened):
            raise RemoteRefused("The host of the URL resolves to an IP address that is not public.")

    async def open(self, url: str, requested: Retrieval = _WHOLE) -> RemoteResponse:
        """Request from the source what the client has requested, under the same conditions.

        Raises `RemoteTimeout`, or `RemoteFailed` for anything else that cannot be passed on; neither says
        more of the inside than that.
        """
        method, request = requested.method, upstream.request_of(requested)
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._request(method, url, request.headers)
                # URLs that are signed for GET only, and servers that support nothing else.
                if method == "HEAD" and response.status in (403, 405, 501):
                    _cut(response)
                    response = await self._request("GET", url, request.headers)
        except (aiohttp.ClientError, OSError, RemoteRefused) as error:
            # Not chained: aiohttp's errors quote everything that the source sent.
            raise _as_refusal(error, url) from None
        try:
            head = upstream.read_response(response.status, request, response.raw_headers)
        except RemoteFailed:
            _cut(response)
            raise
        if method == "HEAD" or response.status not in (200, 206):
            _cut(response)
            return RemoteResponse(head)
        passed_on = RemoteResponse(head, response, self._timeout)
        self._open_responses.add(passed_on)
        return passed_on

    async def _request(self, method: str, url: str, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """Follow redirects to the response; its status is any but that of a redirect."""
        if self._session is None:
            raise RuntimeError("Remote is not started")
        target = addresses.check_url(url, self._opened)
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._session.request(
                method, URL(str(target), encoded=True), headers=headers, allow_redirects=False
            )
            if response.status not in upstream.REDIRECTS:
                return response
            _cut(response)
            location = response.headers.get("Location")
            if not location:
                raise RemoteFailed("The external source redirected without a target URL.")
            target = addresses.redirected(target, location, self._opened)
        raise RemoteFailed("The external source redirected too many times.")

    async def _resolve_by_dns(self, host: str, port: int) -> list[str]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(sockaddr[0]) for *_, sockaddr in found]

    def _open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Every connection begins here, from wherever the HTTP library has the IP address."""
        family, kind, protocol, _, sockaddr = info
        if not _allowed([sockaddr[0]], self._opened):
            raise OSError(errno.EACCES, "address not allowed")
        return socket.socket(family, kind, protocol)


class _Guard(AbstractResolver):
    """Passes on only the allowed IP addresses of a host."""

    def __init__(self, resolve: Resolve, opened: Sequence[addresses.Network]) -> None:
        self._resolve = resolve
        self._opened = opened

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolve(host, port)
        if not found:
            raise OSError(f"no address for {host}")
        allowed = _allowed(found, self._opened)
        if not allowed:
            raise RemoteRefused("The host of the external source resolves to no allowed IP address.")
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in allowed
        ]

    async def close(self) -> None:
        """Nothing is held."""


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield


def _allowed(found: Iterable[str], opened: Sequence[addresses.Network]) -> list[addresses.Address]:
    known = (ip_address(text) for text in found)
    return [address for address in known if addresses.is_allowed(address, opened)]


def _as_refusal(error: Exception, url: str) -> RemoteFailed | RemoteTimeout:
    # Signed URLs have their secret in the query.
    reason = f"{type(error).__name__}: {error}"[:_LOGGED]
    _log.info("external source failed", url=url.partition("?")[0], reason=reason)
    return next(kind(detail) for fitting, kind, detail in _MESSAGES if isinstance(error, fitting))


def _cut(response: aiohttp.ClientResponse) -> None:
    """End a response. Without the abort, TLS would wait half a minute for the goodbye of a silent source."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()
