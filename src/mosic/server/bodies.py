"""How the bodies of requests reach the application."""

from __future__ import annotations

from typing import Any

from mosic.server.asgi import ASGIApp, Message, Receive, Scope, Send
from mosic.server.intake import LARGE, Intake
from mosic.server.protocol import CONNECTION, MosicProtocol

SERVER_SEND = "mosic.send"
"""In the scope: the `send` of the server itself, by which `mosic.web.transport` finds the connection."""


class Bodies:
    """ASGI, next to the server: large bodies come in large pieces, and to their last byte.

    A piece is then a `bytearray`, the application's own, where ASGI speaks of `bytes`.

    What the server had read of a body when the connection broke is handed on. uvicorn tells an application of
    the end at once and drops what it holds of the body, or all of it when the client was quick. A resumable
    upload wants these bytes (tus 1.0.0, PATCH: «as much of the received data as possible»).

    With another server than Mosic's own nothing changes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if CONNECTION in scope:
            receive = _RequestBody(scope[CONNECTION], receive).receive
        scope[SERVER_SEND] = send
        try:
            await self._app(scope, receive, send)
        finally:
            # It belongs to an object that has the scope: see `Transport.end`.
            del scope[SERVER_SEND]


class _RequestBody:
    def __init__(self, connection: MosicProtocol, receive: Receive) -> None:
        self._connection = connection
        self._exchange: Any = getattr(receive, "__self__", None)
        self._receive = receive
        self._intake: Intake | None = None

    async def receive(self) -> Message:
        if self._intake is not None and not self._exchange.response_complete:
            if chunk := await self._intake.read():
                return {"type": "http.request", "body": chunk, "more_body": True}
            self._intake = None
        message = await self._receive()
        if message["type"] == "http.disconnect":
            if self._exchange.disconnected and (rest := self._exchange.body):
                self._exchange.body = bytearray()
                return {"type": "http.request", "body": bytes(rest), "more_body": self._exchange.more_body}
        elif (left := self._connection.body_left_of(self._exchange)) >= LARGE:
            self._intake = Intake(self._connection, left)
        return message
