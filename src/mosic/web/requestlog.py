"""The one log line of each request, and the forms of paths and addresses in logs.

Clients choose much of what stands there. So that no client can make one line look like another (programs such
as fail2ban act on lines), no text here has a space, a quote, a backslash or a control character.
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import structlog
from starlette.types import Scope
from structlog.processors import JSONRenderer
from structlog.stdlib import ProcessorFormatter

from mosic.logstream import LogStream
from mosic.web.paths import CLIP
from mosic.web.proxies import client_address
from mosic.wire.ids import CANONICAL, is_uuid
from mosic.wire.redaction import HIDDEN, SHORTEST

_NAME = "mosic.request"
_log = structlog.get_logger(_NAME)
_level = logging.getLogger(_NAME)
_root = logging.getLogger()

# Asked for every few seconds, by programs.
_WATCHED = frozenset(("/health", "/ready", "/metrics"))

_MOST_PATH = 256
_MOST_READ = 1024
# Nearly every path: such a one is written as it is.
_USUAL = re.compile(rf"(?:/(?:[a-z.]{{1,{SHORTEST - 1}}}|{CANONICAL}))*/?".encode("ascii"))
# RFC 3986 §3.3, and the percent sign of what is encoded already.
_AS_SENT = "/%:@!$&'()*+,;=-._~"
# A query that was encoded with the path, perhaps twice, or was put there without its question mark.
_QUERY = re.compile(r"[?=]|%(?:25)*3[DFdf]")
# Where a key may have got by mistake: what is long, is no id, no words, and has no ending of a file.
_END = r"(?:/|\Z)"
_CHARACTER = "(?:%[0-9A-Fa-f]{2}|[^/%]|%(?![0-9A-Fa-f]{2}))"
_LIKE_A_KEY = re.compile(
    rf"(?<=/)(?!{CANONICAL}{_END})(?![a-z_-]+{_END})(?![^/]*\.[A-Za-z0-9]{{1,8}}{_END}){_CHARACTER}{{{SHORTEST},}}"
)


def written_path(scope: Scope, *, refused: bool) -> str:
    """The path as it was sent, percent-encoded, without anything that is or may have been a query.

    The path of a refused request can be anything: what looks like a key is left out there.
    """
    raw: bytes | None = scope.get("raw_path")
    usual = _usual(raw)
    if usual is not None:
        return usual
    path = (quote(raw, safe=_AS_SENT) if raw else quote(scope["path"]))[:_MOST_READ]
    query = _QUERY.search(path)
    if query is not None:
        path = path[: query.start()] + HIDDEN
    if refused:
        path = _LIKE_A_KEY.sub(HIDDEN, path)
    return path if len(path) <= _MOST_PATH else path[: _MOST_PATH - 1] + HIDDEN


@lru_cache(maxsize=1024)  # listeners ask for one path many times
def _usual(raw: bytes | None) -> str | None:
    return raw.decode("ascii") if raw and len(raw) <= _MOST_PATH and _USUAL.fullmatch(raw) else None


def _clip_of(scope: Scope) -> str | None:
    """The id of the clip that a request was about, or that it made."""
    name: str | None = scope.get(CLIP) or scope.get("path_params", {}).get("clip_id")
    return _id(name) if name else None


@lru_cache(maxsize=1024)
def _id(text: str) -> str | None:
    return text.lower() if is_uuid(text) else None


@dataclass(slots=True)
class RequestRecord:
    """One request whose response is over."""

    scope: Scope
    route: str
    """The template of its path, or `UNMATCHED`."""

    request_id: str
    status: int
    seconds: float
    """From its head to the end of its response."""

    sent: int
    """Bytes of the body of the response."""


class RequestLog:
    """Writes a line when requests are logged at all. Where lines are JSON it is put together here: on the way
    through structlog it takes longer than sending a range of a file does."""

    def __init__(self) -> None:
        self._handler: logging.Handler | None = None
        self._stream: LogStream | None = None
        self._hide: Any = None
        self._second = -1
        self._time = ""

    def write(self, record: RequestRecord, key_name: str | None, trusted: str) -> None:
        """`trusted` is `MOSIC_FORWARDED_ALLOW_IPS`. None of the texts has characters that JSON would have to
        escape."""
        route, status = record.route, record.status
        watched = route in _WATCHED and status < 400
        if not _level.isEnabledFor(logging.DEBUG if watched else logging.INFO):
            return
        scope, request_id = record.scope, record.request_id
        handler = _root.handlers[0] if len(_root.handlers) == 1 else None
        if handler is not self._handler:
            self._handler, (self._stream, self._hide) = handler, _json_stream(handler)
        address, method = client_address(scope, trusted), scope["method"]
        path, clip_id = written_path(scope, refused=status >= 400), _clip_of(scope)
        if self._stream is None:
            known = {"address": address, "clip_id": clip_id, "key_name": key_name}
            (_log.debug if watched else _log.info)(
                "request",
                request_id=request_id,
                method=method,
                path=path,
                route=route,
                status=status,
                seconds=round(record.seconds, 6),
                sent=record.sent,
                **{name: value for name, value in known.items() if value is not None},
            )
            return
        if status >= 400:
            path = self._hide(path)
        address_part = f'"address": "{address}", ' if address is not None else ""
        key_part = f'"key_name": "{key_name}", ' if key_name is not None else ""
        clip_part = f'"clip_id": "{clip_id}", ' if clip_id is not None else ""
        line = (
            f'{{"request_id": "{request_id}", {address_part}"method": "{method}", "path": "{path}", '
            f'"route": "{route}", {clip_part}"status": {status}, "seconds": {record.seconds:.6f}, '
            f'"sent": {record.sent}, {key_part}"event": "request", '
            f'"level": "{"debug" if watched else "info"}", "logger": "{_NAME}", '
            f'"timestamp": "{self._now()}"}}\n'
        )
        self._stream.write(line)

    def _now(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._time = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._time}.{int((now - second) * 1_000_000):06}Z"


def _json_stream(handler: logging.Handler | None) -> tuple[LogStream | None, Any]:
    """Where `mosic.logs` sends its lines, and what hides secrets in them, when it makes them JSON."""
    if isinstance(handler, logging.StreamHandler) and isinstance(handler.formatter, ProcessorFormatter):
        renderer = handler.formatter.processors[-1]
        if isinstance(renderer, JSONRenderer) and isinstance(handler.stream, LogStream):
            return handler.stream, getattr(renderer, "hide", str)
    return None, None
