"""How long a connection waits for its client, and how it ends: uvicorn's HTTP protocol, with time limits.

While no response is being made, some timer runs: docs/decisions/0015 has the table.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from mosic.errors import HeadStalled, MosicError
from mosic.server import limits
from mosic.server.deadline import Deadline
from mosic.server.refusal import Refusal
from mosic.server.slow_readers import SlowReaderWatch
from mosic.server.state import BODY_LENT, IDLE, IN_BODY, LINGERING, READING_HEAD, REFUSING
from mosic.server.transport import unacknowledged
from mosic.settings.timings import Timings


class Connection(HttpToolsProtocol):
    """One connection of a client; what it reads is a matter of `MosicProtocol`."""

    _deadline: Deadline
    _slow_reader: SlowReaderWatch

    def __init__(self, *args: Any, patience: float, timings: Timings, **options: Any) -> None:
        """`patience`: seconds after which a client that takes nothing of what waits for it is given up."""
        super().__init__(*args, **options)
        self._patience = patience
        self._timings = timings
        self._state = IDLE
        self._responding: RequestResponseCycle | None = None  # whose response is made, or was made last
        self._to_head = False  # the last request, to which a response has no body
        self._drain_left = 0  # bytes of a body that are still read once its request is answered
        self._refusal: Refusal | None = None  # while the state is REFUSING

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = Deadline(self.loop)
        self._slow_reader = SlowReaderWatch(transport, self.loop, self._patience)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.stop()
        self._slow_reader.stop()
        responding = self._responding
        if responding is not None and not responding.response_complete:
            # uvicorn tells only the last request of the connection, which may be waiting for its turn.
            responding.disconnected = True
            responding.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._slow_reader.start()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._slow_reader.stop()

    # Responses, one after the other.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._responding = cycle
        task = self.loop.create_task(cycle.run_asgi(app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    @property
    def _is_responding(self) -> bool:
        return self._responding is not None and not self._responding.response_complete

    def on_response_complete(self) -> None:
        """Of the exchange whose response it was: the next one that waits is begun."""
        if self.transport.get_write_buffer_size():
            # Nobody may be waiting for the end of it any more, yet the connection stays until it is taken.
            self._slow_reader.start()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            if self.pipeline:
                self.flow.pause_reading()
        elif self._state is IDLE:
            self._deadline.set(self.timeout_keep_alive, self.transport.close)
        elif self._state in IN_BODY:
            self._drain_left = limits.DRAIN_BYTES
            self._deadline.set(self._timings.drain, self._linger)
        if self._state is REFUSING:
            # Not at once: of this response something may be held back still.
            self.loop.call_soon(self._refuse_in_turn)

    # The time limits of what is read.

    def _expect_head(self) -> None:
        """From now on it has its time, unless that runs already."""
        if self._deadline.then != self._head_is_late:
            self._deadline.set(self._timings.head, self._head_is_late)

    def _head_is_late(self) -> None:
        if self._is_responding:
            # It is that of a next request. The response that is being sent must not be broken into.
            self._expect_head()
        elif self._state is READING_HEAD:
            self._refuse(HeadStalled(f"It has to arrive within {self._timings.head:g} s."))
        else:
            # Of those who said nothing, as browsers do that connect in case they need it, nobody waits.
            self.transport.close()

    def _drained(self, size: int) -> None:
        """So much came of a body whose request is answered."""
        self._drain_left -= size
        if self._drain_left < 0 and self._state in IN_BODY:
            self._linger()

    def _drained_all(self) -> None:
        if self._state is IDLE:
            self._deadline.set(self.timeout_keep_alive, self.transport.close)
        else:
            self._linger()

    # The end.

    def _refuse(self, error: MosicError) -> None:
        """Respond below the application, which never sees such a request, and close; but earlier requests on
        the connection, whose bodies have come, are answered first."""
        self._refusal = Refusal(error, self._to_head)
        self._state = REFUSING
        self._refuse_in_turn()

    def _refuse_in_turn(self) -> None:
        refusal, responding = self._refusal, self._responding
        if refusal is None or self.transport.is_closing():
            return
        broken = responding if responding is self.cycle and getattr(responding, "more_body", False) else None
        if broken is None and self._is_responding:
            self.flow.pause_reading()
            return
        self._refusal = None
        if broken is None or not broken.response_started:
            client = self.client[0] if self.client is not None else None
            fields = self.server_state.default_headers
            self.transport.write(refusal.response(self.app_state, client, fields))
        if broken is not None and not broken.response_complete:
            broken.disconnected = True
            broken.waiting_for_100_continue = False
            broken.message_event.set()
        self._linger()

    def _close_in_order(self) -> None:
        """For a response behind which the connection closes: its client may still be sending."""
        if self._state in IN_BODY and not self.transport.is_closing():
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        """Say that no more comes, and drop what does come until the client closes or has had its time."""
        self._deadline.clear()
        self.pipeline.clear()
        lent, self._state = self._state is BODY_LENT, LINGERING
        if lent:
            self._pass_on_to(self)
        if self.transport.is_closing():
            return
        if self.transport.get_write_buffer_size():
            self._slow_reader.start()
        with suppress(OSError):  # the client has left, and soon it will be noticed
            self.transport.write_eof()
        self.flow.resume_reading()
        self._linger_on(None)

    def _linger_on(self, before: int | None) -> None:
        """As long as the client takes something of what was sent."""
        left = unacknowledged(self.transport)
        if before is None or left < before:
            self._deadline.set(self._timings.linger, lambda: self._linger_on(left))
        else:
            self.transport.close()

    def _pass_on_to(self, protocol: asyncio.BaseProtocol) -> None:
        # uvloop looks at who it reads for when it starts to read.
        self.flow.pause_reading()
        self.transport.set_protocol(protocol)
        self.flow.resume_reading()
