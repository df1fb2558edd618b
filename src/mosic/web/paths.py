"""One spelling of every path, settled before routing."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

from mosic.wire.ids import parse_uuid

PREFIX = "/play"

CLIP = "mosic.clip"
"""In the scope of a request about a clip that no `{clip_id}` of its route names: its id, if it is one."""

_FILE_NAMES = "/upload/"
"""Below it `curl -T` puts the name of the file: the one text in a path that is free."""


def routed_path(scope: Scope) -> str:
    """The path that is compared with routes: of what is percent-encoded only ids are decoded.

    A proxy that closes a route may decode what it compares or not, and must not be passed by what it
    overlooks (`/metrics%2f`, `/%6detrics`, `/metrics%0a`). No letter of a route needs to be encoded.
    """
    written: bytes = scope.get("raw_path") or b""
    if b"%" not in written:
        path: str = scope["path"]
        return path
    return "/".join(_decoded_id(part) for part in written.decode("latin-1").split("/"))


def _decoded_id(part: str) -> str:
    decoded = unquote(part)
    try:
        parse_uuid(decoded)
    except ValueError:
        return part
    return decoded


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
            path = routed_path(scope)
            for prefix in (*self._aliases, PREFIX):
                if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
                    rest = path[len(prefix) :]
                    if rest.startswith(_FILE_NAMES):
                        rest = scope["path"][len(prefix) :]
                    path = PREFIX + rest
                    if prefix != PREFIX:
                        scope["mosic.alias"] = prefix
                    break
            if len(path) > 1 and path.endswith("/"):
                path = path[:-1]
            scope["path"] = path
        await self._app(scope, receive, send)
