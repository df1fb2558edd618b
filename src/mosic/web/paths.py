"""Gives every path one spelling before routing."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

from mosic.wire.ids import parse_uuid

PREFIX = "/play"

ALIAS = "mosic.alias"
"""In the scope of a request that came under an alias prefix: that prefix."""

CLIP = "mosic.clip"
"""In the scope of a request whose route has no `{clip_id}`: the id of the clip that it is about, if any."""

_FILE_NAMES = "/upload/"
"""Behind it `curl -T` puts the name of the file: the only free text in a path."""


def routed_path(scope: Scope) -> str:
    """The path that is compared with routes; only ids are percent-decoded in it.

    A proxy that blocks a route may compare decoded paths or not, and must not be bypassed by a spelling that
    it does not know (`/metrics%2f`, `/%6detrics`, `/metrics%0a`). No route has a character that must be
    encoded.
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
    """ASGI: replaces alias prefixes by `/play` and removes a slash at the end, without a redirect.

    So routes and metrics know one form of each path, and no client loses its body or method to a redirect.
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
                        scope[ALIAS] = prefix
                    break
            if len(path) > 1 and path.endswith("/"):
                path = path[:-1]
            scope["path"] = path
        await self._app(scope, receive, send)
