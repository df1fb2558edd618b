"""What every request gets: an id, its place in the metrics, one log line. And the last resort for errors."""

from __future__ import annotations

import asyncio
import re
from contextvars import ContextVar
from time import perf_counter

import structlog
import uuid_utils
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import STRUCTLOG_KEY_PREFIX

from mosic.errors import ClientDisconnected, MosicError, Unavailable
from mosic.metrics import UNMATCHED, Metrics
from mosic.web.auth import KEY_NAME
from mosic.web.errors import ProblemResponse
from mosic.web.proxies import plain_address
from mosic.web.requestlog import RequestLog, RequestRecord, written_path
from mosic.wire.fields import select_fields
from mosic.wire.problem import NO_SNIFFING

_log = structlog.get_logger("mosic.request")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:=+/-]{1,128}")
# Any token is a valid method; a client must not be able to make new series with its own.
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

_FIELDS = {
    name.encode("ascii"): name for name in ("x-request-id", "expect", "content-length", "transfer-encoding")
}

# A refused upload is read on for so much, so that the client sees the refusal rather than a reset while it
# is still sending; what is longer is cut off.
_DRAIN_BYTES = 64 * 1024 * 1024
_DRAIN_SECONDS = 5.0

request_id_in_logs: ContextVar[str] = ContextVar(f"{STRUCTLOG_KEY_PREFIX}request_id")
"""Is in every log line while it is set: what `structlog.contextvars.bind_contextvars` makes, made once."""


def choose_request_id(given: str | None) -> str:
    """The client's own (a proxy's, usually) when it is harmless, else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return uuid_utils.uuid7().hex


class RequestRecorder:
    """Counts requests in the metrics and writes a log line for each."""

    def __init__(self, metrics: Metrics, trusted: str) -> None:
        """`trusted` is `MOSIC_FORWARDED_ALLOW_IPS`."""
        self.metrics = metrics
        self._trusted = trusted
        self._log = RequestLog()

    def record_request(self, record: RequestRecord) -> None:
        """To be called once for each request."""
        scope = record.scope
        method: str = scope["method"]
        key_name: str | None = scope.get(KEY_NAME)
        if key_name is not None:
            self.metrics.keys.used(key_name)
        self.metrics.requests.ended(
            method if method in _METHODS else "OTHER",
            record.route,
            record.status,
            record.seconds,
            record.request_id,
        )
        self._log.write(record, key_name, self._trusted)

    def record_refusal(self, error: MosicError, peer: str | None) -> str:
        """To be called for what the server refuses below the application, which has no method and no route,
        and no client but the one that is connected; returns the id that the log has it under."""
        request_id = choose_request_id(None)
        self.metrics.requests.failed(error.code)
        address = plain_address(peer)
        known = {} if address is None else {"address": address}
        _log.info("request refused", request_id=request_id, **known, status=error.status, code=error.code)
        return request_id


class Instrument:
    """ASGI, around everything. Never buffers: messages pass through as they come."""

    def __init__(self, app: ASGIApp, recorder: RequestRecorder) -> None:
        self._app = app
        self._recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        exchange = _Exchange(scope, receive, send)
        bound = request_id_in_logs.set(exchange.request_id)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnected:
            pass
        except asyncio.CancelledError:
            # The time for stopping in order is over. The task ends here anyway.
            if not exchange.status:
                await exchange.refuse(Unavailable("The service is stopping."), scope)
                self._recorder.metrics.requests.failed(Unavailable.code)
        except Exception:
            _log.exception("unexpected error", method=scope["method"], path=written_path(scope, refused=True))
            # Only the end of the connection says that a response is not whole: the server closes it when an
            # application raises.
            if not exchange.complete:
                raise
        finally:
            request_id_in_logs.reset(bound)
            self._recorder.record_request(
                RequestRecord(
                    scope,
                    route=getattr(scope.get("route"), "path", UNMATCHED),
                    request_id=exchange.request_id,
                    status=exchange.status or ClientDisconnected.status,
                    seconds=perf_counter() - started,
                    sent=exchange.sent,
                )
            )


class _Exchange:
    """One request and its response, watched as the messages pass."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.status = 0
        self.sent = 0
        self.complete = False
        fields = select_fields(scope["headers"], _FIELDS)
        self.request_id = scope["mosic.request_id"] = choose_request_id(fields.get("x-request-id"))
        # Whether the sender of a body waits for «100 Continue» before sending it.
        self._waits_for_continue = fields.get("expect", "").lower() == "100-continue"
        self._body_read = not (fields.get("content-length", "").strip("0") or "transfer-encoding" in fields)
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
            headers = [*message.get("headers", ()), (b"x-request-id", self.request_id.encode("ascii"))]
            if NO_SNIFFING not in headers:
                headers.append(NO_SNIFFING)
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

    async def refuse(self, error: MosicError, scope: Scope) -> None:
        """Respond with the error, and do not wait for what the client is still sending."""
        self._waits_for_continue = True
        await ProblemResponse(error)(scope, self.receive, self.send)

    async def _drain_body(self) -> None:
        """Read and drop what the client is still sending, within bounds (RFC 9112 §9.6 says why)."""
        left = _DRAIN_BYTES
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while left > 0 and not self._body_read:
                    left -= len((await self.receive()).get("body", b""))
        except TimeoutError:
            pass
