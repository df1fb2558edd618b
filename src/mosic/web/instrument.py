"""The outermost layer: request id, metrics, one log line, the last resort for errors, and unread bodies."""

from __future__ import annotations

import asyncio
import re
import time

import structlog
import uuid_utils
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mosic.errors import ClientDisconnected
from mosic.metrics import UNMATCHED, Metrics

_log = structlog.get_logger("mosic.request")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:=+/-]{1,128}")

# A refused upload is read on for so much, so that the client sees the refusal rather than a reset while it
# is still sending; what is longer is cut off.
_DRAIN_BYTES = 64 * 1024 * 1024
_DRAIN_SECONDS = 5.0


class Instrument:
    """ASGI, around everything. Never buffers: messages pass through as they come."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        structlog.contextvars.bind_contextvars(request_id=exchange.request_id)
        started = time.perf_counter()
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnected:
            exchange.status = exchange.status or ClientDisconnected.status
        except Exception:
            _log.exception("unexpected error", method=scope["method"], path=scope["path"])
            # An answer that was cut off can only be told by closing the connection, as the server does
            # when an application raises.
            if not exchange.complete:
                raise
        finally:
            structlog.contextvars.unbind_contextvars("request_id")
            route = scope.get("route")
            template: str = getattr(route, "path", UNMATCHED)
            seconds = time.perf_counter() - started
            status = exchange.status or ClientDisconnected.status
            self._metrics.request_ended(_method(scope), template, status, seconds)
            _log.info(
                "request",
                request_id=exchange.request_id,
                method=scope["method"],
                route=template,
                status=status,
                seconds=round(seconds, 6),
                sent=exchange.sent,
            )


class _Exchange:
    """One request and its answer, watched as the messages pass."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self.status = 0
        self.sent = 0
        self.complete = False
        self.request_id = scope["mosic.request_id"] = _request_id(scope)
        self._body_expected, self._waits_for_continue = _body_facts(scope)
        self._body_read = not self._body_expected
        self._drain = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._waits_for_continue = False
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._body_read = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            headers.append((b"x-request-id", self.request_id.encode("ascii")))
            if not self._body_read:
                # Nobody will read the rest of the body, so the connection cannot serve another request.
                headers.append((b"connection", b"close"))
                self._drain = not self._waits_for_continue
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
            if self._drain and not message.get("more_body", False):
                await self._send({**message, "more_body": True})
                await self._drain_body()
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            self.complete = not message.get("more_body", False)
        await self._send(message)

    async def _drain_body(self) -> None:
        """Read and drop what the client is still sending, within bounds (RFC 9112 §9.6 says why)."""
        left = _DRAIN_BYTES
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while left > 0 and not self._body_read:
                    left -= len((await self.receive()).get("body", b""))
        except TimeoutError:
            pass


def _method(scope: Scope) -> str:
    # Any token is a valid method; a client must not be able to make new series with its own.
    method: str = scope["method"]
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    return method if method in known else "OTHER"


def _request_id(scope: Scope) -> str:
    """The client's own (a proxy's, usually) when it is harmless, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            text: str = value.decode("ascii")
            return text
    return uuid_utils.uuid7().hex


def _body_facts(scope: Scope) -> tuple[bool, bool]:
    """Whether the request has a body, and whether its sender waits for «100 Continue» before sending it."""
    expected = waits = False
    for name, value in scope["headers"]:
        if (name == b"content-length" and value.strip(b"0")) or name == b"transfer-encoding":
            expected = True
        elif name == b"expect" and value.lower() == b"100-continue":
            waits = True
    return expected, waits
