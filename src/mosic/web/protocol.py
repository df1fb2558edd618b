"""uvicorn's HTTP protocol, with a bound on the head of a request and problems for what it refuses itself."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from mosic.errors import HeadTooLarge, MalformedRequest, MosicError
from mosic.web.errors import ProblemResponse

MAX_HEAD_SIZE = 64 * 1024
"""Bytes of request line and header section. The parser below has no limit of its own, and joins a line that
grows again and again: 100 MB of one header line would cost twice the memory and seconds of the loop."""


class MosicProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=MosicProtocol)`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_size = 0
        self._in_head = True

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_size += len(data)
        super().data_received(data)
        # A body in the same piece of data does not count: its head was complete.
        if self._in_head and self._head_size > MAX_HEAD_SIZE and not self.transport.is_closing():
            self._refuse(HeadTooLarge(f"The head of a request may have {MAX_HEAD_SIZE} bytes."))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        self._in_head, self._head_size = False, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
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

    def send_400_response(self, msg: str) -> None:
        self._refuse(MalformedRequest(msg))

    def _refuse(self, error: MosicError) -> None:
        """Answer below the application, which never sees such a request, and close."""
        answer = ProblemResponse(error)
        fields = [*self.server_state.default_headers, *answer.raw_headers, (b"connection", b"close")]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
        self.transport.write(STATUS_LINE[error.status] + head + b"\r\n" + bytes(answer.body))
        self.transport.close()
