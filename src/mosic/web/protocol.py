"""uvicorn's HTTP protocol, with bounds on what clients keep waiting, and problems for what it refuses."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from mosic.errors import HeadStalled, HeadTooLarge, MalformedRequest, MosicError
from mosic.settings import Settings
from mosic.web.errors import ProblemResponse
from mosic.web.transport import untaken

MAX_HEAD_SIZE = 64 * 1024
"""Bytes of request line and header section. The parser below has no limit of its own, and joins a line that
grows again and again: 100 MB of one header line would cost twice the memory and seconds of the loop."""

HEAD_SECONDS = 30.0
"""How long a head may take, from the connection or from its first byte on. uvicorn waits for ever: whoever
sends one byte now and then on many connections could use up all descriptors."""

LINGER_SECONDS = 2.0
"""How long a refused client that takes nothing more may go on sending before its connection is closed. What
it sends then is answered by a reset, at which it may lose the answer (RFC 9112 §9.6)."""

REFUSED = "mosic.refused"
"""In the state of the lifespan: to be told of each refusal; gives the id of the request."""

MAX_AHEAD = 1000
"""Requests that a client may send ahead of the answers. uvicorn takes any number, at 2.5 KiB of memory for
each of 18 bytes, and reads on after every answer: 20 MB of them on one connection took 1 GB."""

CONNECTION = "mosic.connection"
"""In the scope of a request that may have a body: the `MosicProtocol` that it comes through."""


def protocol_for(settings: Settings) -> Any:
    """For `uvicorn.Config(http=…)`: what makes the protocol of a connection, and can be pickled."""
    return partial(MosicProtocol, patience=settings.answer_idle_seconds)


class MosicProtocol(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(self, *args: Any, patience: float, **options: Any) -> None:
        """A client that takes nothing of what waits for it for `patience` seconds is given up. uvicorn waits
        for ever, and such a client costs a descriptor and a piece of memory all that time."""
        super().__init__(*args, **options)
        self._patience = patience
        self._head_size = 0
        self._in_head = True
        self._begun = False
        self._body_left = 0  # of a body whose length was declared
        self._framing: tuple[bytes, bytes] | None = None
        self._refusal: MosicError | None = None
        self._refused = False
        self._answering: RequestResponseCycle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._stop_watching()
        answering = self._answering
        if answering is not None and not answering.response_complete:
            # uvicorn tells only the last request of the connection, which may be waiting for its turn.
            answering.disconnected = True
            answering.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()
        # Nobody may be waiting for the end of it any more, yet the connection stays until it is taken.
        if self.transport.get_write_buffer_size():
            self._watch()
        if self._refusal is not None:
            # Not at once: of this answer something may be held back still.
            self.loop.call_soon(self._refuse, self._refusal)

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        if self._in_head:
            self._head_size += len(data)
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self._refuse(MalformedRequest("Invalid HTTP request received."))
            return
        if len(self.pipeline) > MAX_AHEAD:
            # Without a word, which would break into the answer that is being sent. RFC 9112 §9.3.2: who sends
            # ahead has to expect it.
            self.transport.abort()
            return
        # A body in the same piece of data does not count: its head was complete.
        if self._in_head and self._head_size > MAX_HEAD_SIZE:
            self._refuse(HeadTooLarge(f"The head of a request may have {MAX_HEAD_SIZE} bytes."))
        elif self._in_head and self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _parse(self, data: bytes) -> None:
        """Whatever a request asks to upgrade to, it is answered in HTTP/1.1, as RFC 9110 §7.8 allows.

        Java's HttpClient and `curl --http2` ask for h2c with the first request of a connection.
        """
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # The parser takes the body for the other protocol already. A fresh one goes on, which is
                # told how the body is framed.
                data = data[upgrade.args[0] :]
                self._renew_parser()
                if self._framing is not None:
                    self.parser.feed_data(b"POST / HTTP/1.1\r\n%s: %s\r\n\r\n" % self._framing)

    def _renew_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = self._begun = True

    def on_headers_complete(self) -> None:
        self._in_head, self._begun, self._head_size = False, False, 0
        if self._deadline is not None:
            self._disarm()
        if self._framing is not None:
            self._framing = None  # the head of this request came before
            return
        super().on_headers_complete()
        # The parser has refused a second Content-Length, and one beside a Transfer-Encoding.
        headers = dict(self.headers)
        size = int(headers.get(b"content-length", 0))
        if self.scope["method"] != "GET":
            self.scope[CONNECTION] = self  # type: ignore[literal-required]
            self._body_left = size
        if self.parser.should_upgrade() and self.scope["method"] != "CONNECT":
            if b"transfer-encoding" in headers:
                self._framing = b"Transfer-Encoding", headers[b"transfer-encoding"]
            elif size:
                self._framing = b"Content-Length", b"%d" % size

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        if self._framing is not None:
            return
        self._body_left = 0
        super().on_message_complete()
        # uvicorn does not say so of a body that ends behind the answer.
        self.cycle.more_body = False

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
        self._renew_parser()
        self._pass_on_to(self)
        self.on_message_complete()

    def _pass_on_to(self, protocol: asyncio.BaseProtocol) -> None:
        # uvloop looks at who it reads for when it starts to read.
        self.flow.pause_reading()
        self.transport.set_protocol(protocol)
        self.flow.resume_reading()

    def _watch(self) -> None:
        if self._look is None:
            before = untaken(self.transport)
            self._look = self.loop.call_later(self._patience, self._give_up_unless_taken, before)

    def _stop_watching(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _give_up_unless_taken(self, before: int) -> None:
        self._look = None
        if not self.transport.get_write_buffer_size():
            return
        if untaken(self.transport) == before:
            self.transport.abort()
        else:
            self._watch()

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
        elif self._begun:
            self._refuse(HeadStalled(f"It has to be there within {HEAD_SECONDS:g} s."))
        else:
            # Of those who said nothing, as browsers do that connect in case they need it, nobody waits.
            self.transport.close()

    def _refuse(self, error: MosicError) -> None:
        """Answer below the application, which never sees such a request, and close; but earlier requests on
        the connection, whose bodies have come, are answered first."""
        self._refusal = error
        answering: RequestResponseCycle | None = self._answering
        broken = answering if answering is self.cycle and getattr(answering, "more_body", False) else None
        if broken is None and answering is not None and not answering.response_complete:
            self.flow.pause_reading()
            return
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        if broken is None or not broken.response_started:
            self._write_refusal(error)
        if broken is not None and not broken.response_complete:
            broken.disconnected = True
            broken.waiting_for_100_continue = False
            broken.message_event.set()
        self._linger()

    def _write_refusal(self, error: MosicError) -> None:
        answer = ProblemResponse(error)
        if (tell := self.app_state.get(REFUSED)) is not None:
            answer.headers["X-Request-ID"] = tell(error)
        fields = [*self.server_state.default_headers, *answer.raw_headers, (b"connection", b"close")]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
        self.transport.write(STATUS_LINE[error.status] + head + b"\r\n" + bytes(answer.body))

    def _linger(self) -> None:
        """Say that no more comes, and drop what does come until the client closes or has had its time."""
        self._disarm()
        self._unset_keepalive_if_required()
        if self.transport.get_write_buffer_size():
            self._watch()
        with suppress(OSError):  # the client has left, and soon it will be noticed
            self.transport.write_eof()
        self.flow.resume_reading()
        self._linger_on()

    def _linger_on(self, before: int | None = None) -> None:
        left = untaken(self.transport)
        if before is None or left < before:
            self._deadline = self.loop.call_later(LINGER_SECONDS, self._linger_on, left)
        else:
            self._deadline = None
            self.transport.close()
