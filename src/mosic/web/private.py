"""Responses that no shared cache may keep."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NAME = b"cache-control"
_PUBLIC = (b"public", b"private", b"s-maxage")


class Private:
    """ASGI: adds `private` to `Cache-Control` (RFC 9111 §5.2.2.7) of every response about clips: below the
    paths `prefixes`.

    For a service whose reads need a key or a signature: what one client gets must not reach another.
    """

    def __init__(self, app: ASGIApp, prefixes: tuple[str, ...]) -> None:
        self._app = app
        self._prefixes = prefixes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(self._prefixes):
            await self._app(scope, receive, send)
            return

        async def send_private(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _made_private(message.get("headers", ()))}
            await send(message)

        await self._app(scope, receive, send_private)


def _made_private(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    others: list[tuple[bytes, bytes]] = []
    said = [b"private"]
    for name, value in headers:
        if name.lower() == _NAME:
            parts = [part.strip() for part in value.split(b",")]
            said += [part for part in parts if part and part.partition(b"=")[0].lower() not in _PUBLIC]
        else:
            others.append((name, value))
    return [*others, (_NAME, b", ".join(said))]
