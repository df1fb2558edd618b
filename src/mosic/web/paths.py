"""One spelling of every path, settled before routing."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = "/play"


class OnePath:
    """ASGI: alias prefixes become `/play` and a slash at the end goes away, without a redirect.

    Routes and metrics thus know one form, and a client never loses its body or its method to a redirect.
    """

    def __init__(self, app: ASGIApp, alias_prefixes: Iterable[str]) -> None:
        self._app = app
        # Longest first, so that an alias inside another alias wins.
        self._aliases = tuple(sorted(alias_prefixes, key=len, reverse=True))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: str = scope["path"]
            for alias in self._aliases:
                if path.startswith(alias) and path[len(alias) : len(alias) + 1] in ("", "/"):
                    scope["mosic.alias"] = alias
                    path = PREFIX + path[len(alias) :]
                    break
            if len(path) > 1 and path.endswith("/"):
                path = path[:-1]
            scope["path"] = path
        await self._app(scope, receive, send)
