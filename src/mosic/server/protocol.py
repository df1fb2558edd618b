"""What a client sends on a connection: what the parser finds, checked and bounded; bodies that are lent."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from mosic.errors import MalformedRequest, MosicError, VersionNotSupported
from mosic.server import limits
from mosic.server.connection import Connection
from mosic.server.exchange import Exchange
from mosic.server.overhead import Overhead
from mosic.server.refusal import Lingering
from mosic.server.state import BODY_LENT, DROPPING, IDLE, READ_ALL, READING_BODY, READING_HEAD, UPGRADING
from mosic.wire.requesthead import check_codings, check_head, check_protocol, refusal_of_unread

CONNECTION = "mosic.connection"
"""In the scope of a request that may have a body: the `MosicProtocol` that it comes through."""


class MosicProtocol(Connection):
    """Reads requests, and passes on those that RFC 9110 and RFC 9112 allow."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._renew_parser()
        self._overhead = Overhead()
        self._piece = b""  # while it is being parsed
        self._head: list[bytes] = []  # what came before of a head that is not complete
        self._framing: tuple[bytes, bytes] | None = None  # of a body that a new parser is to read
        self._body_left = 0  # of a body whose length was declared
        self._raw_root_path = self.root_path.encode("ascii")

    def data_received(self, data: bytes) -> None:
        state, overhead = self._state, self._overhead
        if state is IDLE or state is READING_HEAD:
            overhead.head += len(data)
        elif state in DROPPING:
            return
        else:
            overhead.framing += len(data)
        self._piece = data
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            if self._state not in DROPPING:
                self._refuse(self._refusal_for(error))
        else:
            if self._state is not IDLE or overhead.head or self.pipeline:
                self._check_limits()
        self._piece = b""

    def _check_limits(self) -> None:
        if len(self.pipeline) > limits.MAX_AHEAD:
            # Without a word, which would break into the response that is being sent. RFC 9112 §9.3.2: who
            # sends ahead has to expect it.
            self.transport.abort()
        elif self._state is READING_BODY:
            if error := self._overhead.of_body():
                self._refuse(error)
        elif self._state is IDLE or self._state is READING_HEAD:
            # A body in the same piece of data does not count: its head was complete.
            if error := self._overhead.of_head():
                self._refuse(error)
            elif self._state is READING_HEAD:
                self._head.append(self._piece)
                self._expect_head()

    def _refusal_for(self, error: httptools.HttpParserError) -> MosicError:
        if isinstance(error.__context__, MosicError):  # raised in a callback below
            return error.__context__
        if isinstance(error, httptools.HttpParserInvalidMethodError):
            return refusal_of_unread(self._so_far())
        if self._state is READING_HEAD and self.parser.get_method() == b"PRI":
            return VersionNotSupported("Send HTTP/1.1.")
        return MalformedRequest("Invalid HTTP request received.")

    def _so_far(self) -> bytes:
        """From the beginning of the head that has come in part, or from that of an earlier request."""
        return b"".join((*self._head, self._piece))

    def _parse(self, data: bytes) -> None:
        """Whatever a request asks to upgrade to, it is answered in HTTP/1.1, as RFC 9110 §7.8 allows.

        Java's HttpClient and `curl --http2` ask for h2c with the first request of a connection.
        """
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # The parser already takes the body for the other protocol. A new one goes on, which is told
                # how the body is framed.
                data = data[upgrade.args[0] :]
                self._renew_parser()
                if self._framing is not None:
                    self.parser.feed_data(b"POST / HTTP/1.1\r\n%s: %s\r\n\r\n" % self._framing)

    def _renew_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(
            # Both: which requests are the last is decided here. The parser would heed trailers as well.
            lenient_data_after_close=True,
            lenient_keep_alive=True,
            lenient_version=True,  # `check_head` decides
        )

    def on_message_begin(self) -> None:
        if self._state is UPGRADING:
            return
        if self._state in DROPPING:
            raise MalformedRequest  # ends the parsing of what follows the last request
        self._state = READING_HEAD
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._state is not READING_HEAD:
            # A trailer, which is not merged into the head: RFC 9110 §6.5.1.
            self._overhead.trailer(name, value)
            return
        name = name.lower()
        # The parser leaves the white space at the end, which is no part of a value: RFC 9110 §5.5. A Range is
        # read by nginx as well, which takes a tab for a part of it, and must not be said to be a plain one.
        value = value.strip(b" " if name == b"range" else b" \t")
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._state is UPGRADING:
            self._state, self._framing = READING_BODY, None  # the head of this request came before
            return
        # 1. Is it a request to be answered?
        parser, headers = self.parser, self.headers
        method, version = parser.get_method(), parser.get_http_version()
        self._to_head = method == b"HEAD"
        if version != "1.1":
            check_protocol(self._so_far(), version)
        by_name = dict(headers)
        target, headers = check_head(method, version, self.url, headers, by_name)
        # 2. How is its body framed? The parser has refused a second Content-Length, and one beside a
        # Transfer-Encoding.
        size = int(by_name.get(b"content-length", 0))
        chunked = b"transfer-encoding" in by_name
        if chunked:
            check_codings([value for name, value in headers if name == b"transfer-encoding"], version)
        # 3. It is passed on.
        self._state = READING_BODY
        self._overhead.clear()
        self._head.clear()
        self._deadline.clear()
        scope = self._scope_of(method, version, target, headers)
        transport = self.transport
        if size or chunked:
            transport = Lingering(transport, self._close_in_order)  # type: ignore[assignment]
            if method != b"GET":
                scope[CONNECTION] = self
                self._body_left = size
            if parser.should_upgrade():
                self._state = UPGRADING
                self._framing = (
                    (b"Transfer-Encoding", b"chunked") if chunked else (b"Content-Length", b"%d" % size)
                )
        self._begin(scope, transport, keep_alive=version != "1.0" and parser.should_keep_alive())

    def _scope_of(
        self, method: bytes, version: str, target: bytes, headers: list[tuple[bytes, bytes]]
    ) -> dict[str, Any]:
        """As uvicorn makes it, which reads the target and the parser once more."""
        path, _, query = target.partition(b"?")
        if b"#" in target:
            path, _, query = target.partition(b"#")[0].partition(b"?")
        text = path.decode("ascii")
        self.scope = scope = {  # type: ignore[assignment]
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": headers,
            "state": self.app_state.copy(),
            "method": method.decode("ascii"),
            "path": self.root_path + (unquote(text) if "%" in text else text),
            "raw_path": self._raw_root_path + path,
            "query_string": query,
        }
        return scope

    def _begin(self, scope: dict[str, Any], transport: asyncio.Transport, *, keep_alive: bool) -> None:
        before: RequestResponseCycle | None = self.cycle
        self.cycle = cycle = Exchange(
            scope,
            transport,
            self.flow,
            self.server_state.default_headers,
            self.on_response_complete,
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_body(self, body: bytes) -> None:
        self._body_left = max(0, self._body_left - len(body))
        self._overhead.content(len(body))
        cycle = self.cycle
        if cycle.response_complete:
            self._drained(len(body))
            return
        # uvicorn gathers what comes in a bytearray and copies it once more for the application. What is alone
        # when the application asks, as it is while the application keeps up, is handed on as it is.
        if not cycle.body and cycle.more_body:
            cycle.body = body  # type: ignore[assignment]
            if len(body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()
            return
        if isinstance(cycle.body, bytes):
            cycle.body = bytearray(cycle.body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._state is UPGRADING or self._state in DROPPING:
            return
        cycle = self.cycle
        self._body_left = 0
        self._state = IDLE if cycle.keep_alive else READ_ALL
        cycle.more_body = False
        if cycle.response_complete:
            self._drained_all()
        else:
            cycle.message_event.set()

    def body_left_of(self, cycle: RequestResponseCycle) -> int:
        """How much is still to come of a body whose length was declared; 0 for any other."""
        return self._body_left if cycle is self.cycle and not self.transport.is_closing() else 0

    def lend_body(self, protocol: asyncio.BufferedProtocol) -> None:
        """Let another protocol receive the rest; it has to `take_back_body` behind the last byte."""
        self._body_left = 0
        self._state = BODY_LENT
        self._pass_on_to(protocol)

    def take_back_body(self) -> None:
        # The parser that there was waits for bytes that it will never see.
        self._renew_parser()
        self._pass_on_to(self)
        self.on_message_complete()
