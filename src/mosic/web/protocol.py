"""uvicorn's HTTP protocol, with bounds on the head of a request and problems for what it refuses itself."""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from mosic.errors import HeadStalled, HeadTooLarge, MalformedRequest, MosicError
from mosic.web.errors import ProblemResponse

MAX_HEAD_SIZE = 64 * 1024
"""Bytes of request line and header section. The parser below has no limit of its own, and joins a line that
grows again and again: 100 MB of one header line would cost twice the memory and seconds of the loop."""

HEAD_SECONDS = 30.0
"""How long a head may take, from the connection or from its first byte on. uvicorn waits for ever: whoever
sends one byte now and then on many connections could use up all descriptors."""

REFUSED = "mosic.refused"
"""In the state of the lifespan: to be told of each refusal; gives the id of the request."""

CONNECTION = "mosic.connection"
"""In the scope of a request that may have a body: the `MosicProtocol` that it comes through."""


class MosicProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=MosicProtocol)`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_size = 0
        self._in_head = True
        self._begun = False
        self._body_left = 0  # of a body whose length was declared
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_size += len(data)
        super().data_received(data)
        # A body in the same piece of data does not count: its head was complete.
        if self._in_head and self._head_size > MAX_HEAD_SIZE and not self.transport.is_closing():
            self._refuse(HeadTooLarge(f"The head of a request may have {MAX_HEAD_SIZE} bytes."))
        elif self._in_head and self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = self._begun = True

    def on_headers_complete(self) -> None:
        self._in_head, self._begun, self._head_size = False, False, 0
        if self._deadline is not None:
            self._disarm()
        super().on_headers_complete()
        if self.scope["method"] != "GET":
            self.scope[CONNECTION] = self  # type: ignore[literal-required]
            # The parser has refused a second Content-Length, and one beside a Transfer-Encoding.
            self._body_left = int(dict(self.headers).get(b"content-length", 0))

    def on_message_complete(self) -> None:
        self._body_left = 0
        super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._body_left = max(0, self._body_left - len(body))
        # uvicorn gathers what comes in a bytearray and copies it once more for the application. What is alone
        # when the application asks, as it is while the application keeps up, is handed on as it is.
        cycle = self.cycle
        if not cycle.body and cycle.more_body and not cycle.response_complete:
            cycle.body = body  # type: ignore[assignment]
            if len(body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()
            return
        if isinstance(cycle.body, bytes):
            cycle.body = bytearray(cycle.body)
        super().on_body(body)

    def body_left_of(self, cycle: RequestResponseCycle) -> int:
        """How much is still to come of a body whose length was declared; 0 for any other."""
        return self._body_left if cycle is self.cycle and not self.transport.is_closing() else 0

    def lend_body(self, protocol: asyncio.BufferedProtocol) -> None:
        """Let another protocol receive the rest; it has to `take_back_body` behind the last byte."""
        self._body_left = 0
        self._pass_on_to(protocol)

    def take_back_body(self) -> None:
        # The parser that there was waits for bytes that it will never see.
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._pass_on_to(self)
        self.on_message_complete()

    def _pass_on_to(self, protocol: asyncio.BaseProtocol) -> None:
        # uvloop looks at who it reads for when it starts to read.
        self.flow.pause_reading()
        self.transport.set_protocol(protocol)
        self.flow.resume_reading()

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _head_is_late(self) -> None:
        self._deadline = None
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            # That of a next request, while an answer is being sent, which must not be broken into.
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._head_is_late)
        elif self._begun and not self.transport.is_closing():
            self._refuse(HeadStalled(f"It has to be there within {HEAD_SECONDS:g} s."))
        else:
            # Of those who said nothing, as browsers do that connect in case they need it, nobody waits.
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        self._refuse(MalformedRequest(msg))

    def _refuse(self, error: MosicError) -> None:
        """Answer below the application, which never sees such a request, and close."""
        answer = ProblemResponse(error)
        if (tell := self.app_state.get(REFUSED)) is not None:
            answer.headers["X-Request-ID"] = tell(error)
        fields = [*self.server_state.default_headers, *answer.raw_headers, (b"connection", b"close")]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
        self.transport.write(STATUS_LINE[error.status] + head + b"\r\n" + bytes(answer.body))
        self.transport.close()
