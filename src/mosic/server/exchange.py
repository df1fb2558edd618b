"""One request and its response: uvicorn's, with a way of its own to write the response.

uvicorn looks at each field of a head by itself, which is a good part of what a range of a file costs. What
is written, and what is refused, is the same: tests/server/test_exchange.py.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_START = "http.response.start"
_BODY = "http.response.body"

# RFC 9110 §5.6.2 and §5.5: what must not be in a name, and in a value.
_NOT_IN_NAMES = re.compile(rb'[\x00-\x1f\x7f()<>@,;:\[\]={} \t\\"]')
_NOT_IN_VALUES = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# Allowed in both, so that many can be looked at as one.
_BETWEEN_NAMES, _BETWEEN_VALUES = b"-", b"\t"

# RFC 9110 §7.6.1.
_CLOSES = re.compile(rb"(?i)(?:^|,)[ \t]*close[ \t]*(?:,|$)")
# RFC 9110 §6.4.1, §15.3.5, §15.4.5.
_WITHOUT_BODY = frozenset((204, 304))


class Exchange(RequestResponseCycle):
    """The `send` raises `RuntimeError` when the application breaks the rules of ASGI or HTTP."""

    # What uvicorn sets to the same for every request.
    logger = logging.getLogger("uvicorn.error")
    body: Any = b""
    more_body = True
    disconnected = response_started = response_complete = False
    chunked_encoding: bool | None = None
    expected_content_length = 0

    def __init__(
        self,
        scope: Any,
        transport: Any,
        flow: FlowControl,
        default_headers: list[tuple[bytes, bytes]],
        on_response: Callable[[], None],
        *,
        expect_100_continue: bool,
        keep_alive: bool,
    ) -> None:
        self.scope = scope
        self.transport = transport
        self.flow = flow
        self.default_headers = default_headers
        self.on_response = on_response
        self.waiting_for_100_continue = expect_100_continue
        self.keep_alive = keep_alive
        self.message_event = asyncio.Event()
        self._head = b""  # that waits for the beginning of its body

    async def run_asgi(self, app: Any) -> None:
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as error:
            self.logger.error("Exception in ASGI application\n", exc_info=error)
            await self._end_early()
        else:
            if not (self.response_complete or self.disconnected):
                self.logger.error("The ASGI application returned before its response was complete.")
                await self._end_early()
        finally:
            self.on_response = _nothing  # it refers to the connection, which refers to this

    async def _end_early(self) -> None:
        if self.response_started:
            self.flush()
            self.transport.close()
        else:
            await self.send_500_response()

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if not self.response_started:
            if kind != _START:
                raise RuntimeError(f"Expected {_START!r}, but got {kind!r}.")
            self.response_started = True
            self.waiting_for_100_continue = False
            self._head = self._head_of(
                message["status"], [*self.default_headers, *message.get("headers", ())]
            )
        elif self.response_complete:
            raise RuntimeError(f"{kind!r} came behind the end of the response.")
        elif kind != _BODY:
            raise RuntimeError(f"Expected {_BODY!r}, but got {kind!r}.")
        else:
            self._write_body(message.get("body", b""), last=not message.get("more_body", False))

    def flush(self) -> None:
        """Write the head, if it still waits for the beginning of its body."""
        if self._head:
            self._write(b"")

    def _write(self, data: bytes) -> None:
        """A head goes with the beginning of its body: by itself it would be a packet by itself, which costs
        the two ends more than the 64 KiB that follow. ASGI asks for no less."""
        head, self._head = self._head, b""
        if not head:
            self.transport.write(data)
        elif not data:
            # asyncio's `writelines` would wait for ever for an empty piece to go, from Python 3.12 on.
            self.transport.write(head)
        elif not self.transport.is_closing():
            # To a client that has left, uvloop's `writelines` would raise; asyncio's, from Python 3.12 on,
            # would watch the descriptor, which by then may be that of another connection.
            self.transport.writelines((head, data))

    def _head_of(self, status: int, fields: list[tuple[bytes, bytes]]) -> bytes:
        names, values = zip(*fields, strict=True) if fields else ((), ())
        together = _BETWEEN_NAMES.join(names)
        if _NOT_IN_NAMES.search(together):
            raise RuntimeError("Invalid HTTP header name.")
        if _NOT_IN_VALUES.search(_BETWEEN_VALUES.join(values)):
            raise RuntimeError("Invalid HTTP header value.")
        if not together.islower():
            fields = [(name.lower(), value) for name, value in fields]
        by_name = dict(fields)
        lines = [*map(b": ".join, fields)]
        if _CLOSES.search(by_name.get(b"connection", b"")):
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(b"connection: close")

        if by_name.get(b"transfer-encoding", b"").lower() == b"chunked":
            self.chunked_encoding = True
        elif b"content-length" in by_name:
            self.chunked_encoding = False
            self.expected_content_length = int(by_name[b"content-length"])
        elif self.scope["method"] != "HEAD" and status not in _WITHOUT_BODY:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked")
        return b"%b%b\r\n\r\n" % (STATUS_LINE[status], b"\r\n".join(lines))

    def _write_body(self, body: bytes, *, last: bool) -> None:
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            self.flush()
        elif self.chunked_encoding:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self._write(chunk + b"0\r\n\r\n" if last else chunk)
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("The body is longer than its Content-Length.")
            self._write(body)
        if last:
            if self.expected_content_length:
                raise RuntimeError("The body is shorter than its Content-Length.")
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()


def _nothing() -> None:
    pass
