"""How long a connection waits for its client, and how it ends: uvicorn's HTTP protocol, with timers.

While no response is being made, some timer runs: docs/decisions/0015 has the table.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from mosic.errors import HeadStalled, MosicError
from mosic.server import limits
from mosic.server.reading import HEAD, IN_BODY, LENT_BODY, NOTHING, REQUEST
from mosic.server.refusal import refusal
from mosic.server.transport import untaken
from mosic.server.watch import Watch
from mosic.wire.problem import PREFIX_OF

REFUSED = "mosic.refused"
"""In the state of the lifespan: to be called for each refusal, with the error and the host of the peer, None
when it has none; gives the id of the request."""


class Connection(HttpToolsProtocol):
    """One connection of a client; what it reads is a matter of `MosicProtocol`."""

    _watch: Watch

    def __init__(self, *args: Any, patience: float, **options: Any) -> None:
        """`patience`: seconds after which a client that takes nothing of what waits for it is given up."""
        super().__init__(*args, **options)
        self._patience = patience
        self._reading = REQUEST
        self._answering: RequestResponseCycle | None = None
        self._drain_left = 0
        self._refusal: MosicError | None = None
        self._to_head = False  # the last request, to which a response has no body
        self._deadline: asyncio.TimerHandle | None = None
        """Of a head, of a body that is drained, or of a client that does not close. That of a next request is
        uvicorn's `timeout_keep_alive_task`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch = Watch(transport, self.loop, self._patience)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._unset_keepalive_if_required()
        self._watch.stop()
        answering = self._answering
        if answering is not None and not answering.response_complete:
            # uvicorn tells only the last request of the connection, which may be waiting for its turn.
            answering.disconnected = True
            answering.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch.start()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch.stop()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    @property
    def _is_answering(self) -> bool:
        return self._answering is not None and not self._answering.response_complete

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()
        # Nobody may be waiting for the end of it any more, yet the connection stays until it is taken.
        if self.transport.get_write_buffer_size():
            self._watch.start()
        if self._reading is not REQUEST and not self._is_answering:
            self._unset_keepalive_if_required()
            if self._reading in IN_BODY and not self.transport.is_closing():
                self._drain_left = limits.DRAIN_BYTES
                self._deadline = self.loop.call_later(limits.DRAIN_SECONDS, self._linger)
        if self._refusal is not None:
            # Not at once: of this answer something may be held back still.
            self.loop.call_soon(self._refuse_in_turn)

    def _expect_head(self) -> None:
        """From now on it has its time."""
        if self._deadline is None:
            self._deadline = self.loop.call_later(limits.HEAD_SECONDS, self._head_is_late)

    def _wait_for_request(self) -> None:
        """The rest of a body has been drained."""
        self._disarm()
        if self._reading is REQUEST:
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        else:
            self._linger()

    def _drained(self, size: int) -> None:
        """So much came of a body whose request is answered."""
        self._drain_left -= size
        if self._drain_left < 0 and self._reading in IN_BODY:
            self._linger()

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _head_is_late(self) -> None:
        self._deadline = None
        if self._is_answering:
            # That of a next request, while an answer is being sent, which must not be broken into.
            self._expect_head()
        elif self._reading is HEAD:
            self._refuse(HeadStalled(f"It has to arrive within {limits.HEAD_SECONDS:g} s."))
        else:
            # Of those who said nothing, as browsers do that connect in case they need it, nobody waits.
            self.transport.close()

    def _refuse(self, error: MosicError) -> None:
        """Answer below the application, which never sees such a request, and close; but earlier requests on
        the connection, whose bodies have come, are answered first."""
        self._refusal = error
        self._reading = NOTHING
        self._refuse_in_turn()

    def _refuse_in_turn(self) -> None:
        error, answering = self._refusal, self._answering
        if error is None or self.transport.is_closing():
            return
        broken = answering if answering is self.cycle and getattr(answering, "more_body", False) else None
        if broken is None and self._is_answering:
            self.flow.pause_reading()
            return
        self._refusal = None
        if broken is None or not broken.response_started:
            tell = self.app_state.get(REFUSED)
            peer = self.client[0] if self.client is not None else None
            request_id = tell(error, peer) if tell is not None else None
            prefix = prefix_of(None) if (prefix_of := self.app_state.get(PREFIX_OF)) is not None else ""
            fields = self.server_state.default_headers
            self.transport.write(refusal(error, fields, request_id, prefix=prefix, to_head=self._to_head))
        if broken is not None and not broken.response_complete:
            broken.disconnected = True
            broken.waiting_for_100_continue = False
            broken.message_event.set()
        self._linger()

    def _close_in_order(self) -> None:
        """For a response behind which the connection closes: its client may be sending still."""
        if self._reading in IN_BODY and not self.transport.is_closing():
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        """Say that no more comes, and drop what does come until the client closes or has had its time."""
        self._disarm()
        self._unset_keepalive_if_required()
        self.pipeline.clear()
        if self._reading is LENT_BODY:
            self._pass_on_to(self)
        self._reading = NOTHING
        if self.transport.is_closing():
            return
        if self.transport.get_write_buffer_size():
            self._watch.start()
        with suppress(OSError):  # the client has left, and soon it will be noticed
            self.transport.write_eof()
        self.flow.resume_reading()
        self._linger_on()

    def _linger_on(self, before: int | None = None) -> None:
        left = untaken(self.transport)
        if before is None or left < before:
            self._deadline = self.loop.call_later(limits.LINGER_SECONDS, self._linger_on, left)
        else:
            self._deadline = None
            self.transport.close()

    def _pass_on_to(self, protocol: asyncio.BaseProtocol) -> None:
        # uvloop looks at who it reads for when it starts to read.
        self.flow.pause_reading()
        self.transport.set_protocol(protocol)
        self.flow.resume_reading()
