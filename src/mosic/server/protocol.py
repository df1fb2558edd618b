"""What a client sends on a connection: what the parser finds, checked and bounded; bodies that are lent."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from mosic.errors import HeadTooLarge, MalformedRequest, MosicError, VersionNotSupported
from mosic.server import limits
from mosic.server.connection import Connection
from mosic.server.exchange import Exchange
from mosic.server.reading import BODY, HEAD, LENT_BODY, NOTHING, REQUEST, UPGRADE
from mosic.server.refusal import Lingering
from mosic.wire.requesthead import check_codings, check_head, check_protocol, refusal_of_unread

CONNECTION = "mosic.connection"
"""In the scope of a request that may have a body: the `MosicProtocol` that it comes through."""


class MosicProtocol(Connection):
    """Reads requests, and passes on those that RFC 9110 and RFC 9112 allow."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._renew_parser()
        self._piece = b""  # while it is being parsed
        self._head: list[bytes] = []  # what came before of a head that is not complete
        self._head_size = 0
        self._trailer_size = 0
        self._framing_size = 0  # what framed the body, beyond its allowance
        self._framing: tuple[bytes, bytes] | None = None  # of a body that a fresh parser is to read
        self._body_left = 0  # of a body whose length was declared

    def data_received(self, data: bytes) -> None:
        reading = self._reading
        if reading is NOTHING:
            return
        if reading is BODY:
            self._framing_size += len(data)
        else:
            self._head_size += len(data)
        self._piece = data
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            if self._reading is not NOTHING:
                self._refuse(self._refusal_for(error))
        else:
            if self._reading is not REQUEST or self._head_size or self.pipeline:
                self._check_limits()
        self._piece = b""

    def _check_limits(self) -> None:
        if len(self.pipeline) > limits.MAX_AHEAD:
            # Without a word, which would break into the answer that is being sent. RFC 9112 §9.3.2: who sends
            # ahead has to expect it.
            self.transport.abort()
        elif self._reading is BODY:
            if self._framing_size > limits.MAX_HEAD_SIZE:
                self._refuse(_trailers_too_large())
            self._framing_size = max(0, self._framing_size)
        elif self._reading in (REQUEST, HEAD):
            # A body in the same piece of data does not count: its head was complete.
            if self._head_size > limits.MAX_HEAD_SIZE:
                self._refuse(
                    HeadTooLarge(f"The head of a request may have at most {limits.MAX_HEAD_SIZE} bytes.")
                )
            elif self._reading is HEAD:
                self._head.append(self._piece)
                self._expect_head()

    def _refusal_for(self, error: httptools.HttpParserError) -> MosicError:
        if isinstance(error.__context__, MosicError):  # raised in a callback below
            return error.__context__
        if isinstance(error, httptools.HttpParserInvalidMethodError):
            return refusal_of_unread(self._so_far())
        if self._reading is HEAD and self.parser.get_method() == b"PRI":
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
                # The parser takes the body for the other protocol already. A fresh one goes on, which is
                # told how the body is framed.
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
        if self._reading is UPGRADE:
            return
        if self._reading is NOTHING:
            raise MalformedRequest  # ends the parsing of what follows the last request
        self._unset_keepalive_if_required()
        super().on_message_begin()
        self._reading = HEAD

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading is not HEAD:
            # A trailer, which is not merged into the head: RFC 9110 §6.5.1.
            self._trailer_size += len(name) + len(value) + 4
            if self._trailer_size > limits.MAX_HEAD_SIZE:
                raise _trailers_too_large()
            return
        name = name.lower()
        # The parser leaves the white space at the end, which is no part of a value: RFC 9110 §5.5. A Range is
        # read by nginx as well, which takes a tab for a part of it, and must not be said to be a plain one.
        value = value.strip(b" " if name == b"range" else b" \t")
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._reading is UPGRADE:
            self._reading, self._framing = BODY, None  # the head of this request came before
            return
        parser, headers = self.parser, self.headers
        method, version = parser.get_method(), parser.get_http_version()
        self._to_head = method == b"HEAD"
        if version != "1.1":
            check_protocol(self._so_far(), version)
        by_name = dict(headers)
        target, found = check_head(method, version, self.url, headers, by_name)
        # The parser has refused a second Content-Length, and one beside a Transfer-Encoding.
        size = int(by_name.get(b"content-length", 0))
        chunked = b"transfer-encoding" in by_name
        if chunked:
            check_codings([value for name, value in headers if name == b"transfer-encoding"], version)
        if found is not headers:
            headers[:] = found
        self._begin(method, version, target)
        self._reading = BODY
        self._head_size = self._framing_size = self._trailer_size = 0
        self._head.clear()
        self._disarm()
        if size or chunked:
            self.cycle.transport = Lingering(self.transport, self._close_in_order)  # type: ignore[assignment]
            if method != b"GET":
                self.scope[CONNECTION] = self  # type: ignore[literal-required]
                self._body_left = size
            if parser.should_upgrade():
                length = (b"Transfer-Encoding", b"chunked") if chunked else (b"Content-Length", b"%d" % size)
                self._reading, self._framing = UPGRADE, length

    def _begin(self, method: bytes, version: str, target: bytes) -> None:
        """As uvicorn does, which reads the target and the parser once more."""
        path, _, query = target.partition(b"#")[0].partition(b"?")
        text = path.decode("ascii")
        scope = self.scope
        scope["method"] = method.decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        scope["path"] = self.root_path + (unquote(text) if "%" in text else text)
        scope["raw_path"] = self.root_path.encode("ascii") + path
        scope["query_string"] = query
        before: RequestResponseCycle | None = self.cycle
        self.cycle = cycle = Exchange(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_body(self, body: bytes) -> None:
        self._body_left = max(0, self._body_left - len(body))
        self._framing_size -= len(body) * (limits.FRAMING_PER_BYTE + 1)
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
        if self._reading is UPGRADE or self._reading is NOTHING:
            return
        cycle = self.cycle
        self._body_left = 0
        self._reading = REQUEST if cycle.keep_alive else NOTHING
        super().on_message_complete()
        # uvicorn does not say so of a body that ends behind the answer.
        cycle.more_body = False
        if cycle.response_complete:
            self._wait_for_request()

    def body_left_of(self, cycle: RequestResponseCycle) -> int:
        """How much is still to come of a body whose length was declared; 0 for any other."""
        return self._body_left if cycle is self.cycle and not self.transport.is_closing() else 0

    def lend_body(self, protocol: asyncio.BufferedProtocol) -> None:
        """Let another protocol receive the rest; it has to `take_back_body` behind the last byte."""
        self._body_left = 0
        self._reading = LENT_BODY
        self._pass_on_to(protocol)

    def take_back_body(self) -> None:
        # The parser that there was waits for bytes that it will never see.
        self._renew_parser()
        self._pass_on_to(self)
        self.on_message_complete()


def _trailers_too_large() -> HeadTooLarge:
    return HeadTooLarge(f"Trailers and chunk extensions may have at most {limits.MAX_HEAD_SIZE} bytes.")
