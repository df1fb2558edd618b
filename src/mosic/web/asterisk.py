"""`OPTIONS *`: about the service as a whole (RFC 9110 §9.3.7)."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mosic.wire.requesthead import METHODS


class Asterisk:
    """ASGI: names the methods that some route takes; leaves every other request alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "*":
            await Response(status_code=204, headers={"Allow": ", ".join(METHODS)})(scope, receive, send)
        else:
            await self._app(scope, receive, send)
