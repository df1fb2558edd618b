"""The last bytes before a connection broke."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Undelivered:
    """ASGI, next to the server: what the server had read of a body when the connection broke is handed on.

    uvicorn tells an application of the end at once and drops what it holds of the body, up to some 256 KiB,
    or all of it when the client was quick. A resumable upload wants these bytes (tus 1.0.0, PATCH: «as much
    of the received data as possible»). They lie in the object that `receive` belongs to; where another server
    keeps nothing there, nothing changes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Any = getattr(receive, "__self__", None)
        if (
            scope["type"] != "http"
            or scope["method"] in ("GET", "HEAD")
            or not hasattr(exchange, "disconnected")
        ):
            await self._app(scope, receive, send)
            return

        async def receive_all() -> Message:
            message = await receive()
            body = getattr(exchange, "body", None)
            if message["type"] != "http.disconnect" or not exchange.disconnected or not body:
                return message
            exchange.body = bytearray()
            return {"type": "http.request", "body": bytes(body), "more_body": exchange.more_body}

        await self._app(scope, receive_all, send)
