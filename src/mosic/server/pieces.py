"""Large bodies of responses, whole in memory, sent to slow clients without a second copy of them."""

from __future__ import annotations

from mosic.server.asgi import ASGIApp, Message, Receive, Scope, Send
from mosic.server.bodies import SERVER_SEND
from mosic.server.transport import Transport

# What is smaller fits into the memory of a connection anyway.
_LARGE = 64 * 1024
_PIECE = 64 * 1024
_BODY = "http.response.body"


class InPieces:
    """ASGI: a large body is handed on piece by piece, each when the client has taken the last.

    Sent with one message, the body is copied into the server's buffer, and from there into the kernel's,
    which takes megabytes for each connection. So a client that reads nothing costs the body itself, and what
    is shared between responses (a document, a script) costs nothing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "HEAD":
            await self._app(scope, receive, send)
            return

        transport: Transport | None = None

        async def pass_on(message: Message) -> None:
            nonlocal transport
            if message["type"] == _BODY and len(message.get("body", b"")) > _LARGE:
                transport = transport or Transport.of(scope[SERVER_SEND])
                await _send_pieces(message, send, transport)
            else:
                await send(message)

        try:
            await self._app(scope, receive, pass_on)
        finally:
            if transport is not None:
                transport.end()


async def _send_pieces(message: Message, send: Send, transport: Transport) -> None:
    body = memoryview(message["body"])
    transport.wait_when_not_empty()
    try:
        for at in range(0, len(body), _PIECE):
            await send({"type": _BODY, "body": bytes(body[at : at + _PIECE]), "more_body": True})
            # Here the client is waited for.
            await send({"type": _BODY, "body": b"", "more_body": True})
            if transport.is_closing():
                transport.give_up()
                return
        await send({"type": _BODY, "body": b"", "more_body": message.get("more_body", False)})
    finally:
        transport.wait_when_full()
