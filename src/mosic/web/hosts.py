"""Which hosts the service serves (`MOSIC_ALLOWED_HOSTS`): docs/decisions/0016-hosts-and-proxies.md.

A web page can make its own host resolve to this machine (DNS rebinding) and so read what only this machine
should reach; but the browser still sends the host of the page as Host.
"""

from __future__ import annotations

import re
import socket
from functools import partial
from ipaddress import ip_address
from urllib.parse import urlsplit

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from mosic.errors import HostNotAllowed
from mosic.metrics import Metrics
from mosic.settings import Settings
from mosic.web.errors import ProblemResponse
from mosic.web.instrument import Instrument, RequestRecorder
from mosic.web.proxies import described
from mosic.wire.forwarded import FIELDS

_log = structlog.get_logger("mosic.start")

# RFC 9110 §7.2: a host and perhaps a port.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~-]{1,255})(?::[0-9]{0,5})?")
_FORWARDED = frozenset(FIELDS)
_ANY = "*"
_MOST_KNOWN = 256

# For monitoring, with any host. Their responses contain no URLs and nothing about clips.
_FOR_ALL = ("/health", "/ready", "/health/", "/ready/")


def only_allowed_hosts(app: ASGIApp, settings: Settings, recorder: RequestRecorder) -> ASGIApp:
    """`app` for requests to allowed hosts; others get 421. It is `app` itself where every host is allowed."""
    hosts = allowed_hosts(settings)
    if _ANY in hosts:
        return app
    refused = Instrument(partial(_refuse, recorder.metrics), recorder)
    # By default, proxies on this machine are trusted about the host that clients request.
    trusted = settings.forwarded_allow_ips if settings.allowed_hosts else None
    return _Hosts(app, refused, hosts, trusted)


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """Lower-case names and addresses, `.example` for all names below `example`, and `*` for everything."""
    own = {"localhost", ".localhost"}
    if settings.public_url is not None:
        own.add((urlsplit(settings.public_url).hostname or "").rstrip("."))
    if _ANY in settings.allowed_hosts:
        return frozenset({_ANY})
    if settings.allowed_hosts:
        return frozenset(own.union(name.removeprefix("*") for name in settings.allowed_hosts))
    if not _is_loopback(settings.host):
        return frozenset({_ANY})
    machine = socket.gethostname().lower().rstrip(".")
    return frozenset(own | {machine, machine.partition(".")[0], f"{machine.partition('.')[0]}.local"})


def warn_of_any_host(settings: Settings) -> None:
    """Call it at the start."""
    if settings.public_url is None and _ANY in allowed_hosts(settings):
        _log.warning(
            "URLs in responses begin with any Host that a request names; set MOSIC_PUBLIC_URL to the URL "
            "that clients use, or MOSIC_ALLOWED_HOSTS"
        )


class _Hosts:
    """ASGI."""

    def __init__(self, app: ASGIApp, refused: ASGIApp, hosts: frozenset[str], trusted: str | None) -> None:
        """`trusted` are the proxies whose X-Forwarded-Host must be allowed as well."""
        self._app = app
        self._refused = refused
        self._hosts = hosts
        self._trusted = trusted
        self._known: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._allows(scope):
            await self._app(scope, receive, send)
        else:
            await self._refused(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        forwarded = False
        for name, value in scope["headers"]:
            if name == b"host":
                if value not in self._known and not self._learn(value) and scope["path"] not in _FOR_ALL:
                    return False
                if self._trusted is None:
                    return True
            elif name in _FORWARDED:
                forwarded = True
        if forwarded and self._trusted is not None:
            host = described(scope, self._trusted).get("host")
            return host is None or self._is_allowed(host) or scope["path"] in _FOR_ALL
        return True

    def _learn(self, value: bytes) -> bool:
        if not self._is_allowed(value.decode("latin-1")):
            return False
        if len(self._known) < _MOST_KNOWN:
            self._known.add(value)
        return True

    def _is_allowed(self, text: str) -> bool:
        match = _HOST.fullmatch(text)
        if match is None:
            return False
        host = match[1].strip("[]").rstrip(".").lower()
        if host in self._hosts or _is_loopback(host):
            return True
        return any(name.startswith(".") and host.endswith(name) for name in self._hosts)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _refuse(metrics: Metrics, scope: Scope, receive: Receive, send: Send) -> None:
    metrics.requests.failed(HostNotAllowed.code)
    host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
    await ProblemResponse(HostNotAllowed(host))(scope, receive, send)
