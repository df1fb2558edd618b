"""The service's life: open before the first request, close after the last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from mosic.errors import StartupError

_log = structlog.get_logger("mosic.start")


class Lifespan:
    """ASGI: keeps `alive` open while the application serves; a server that takes state from it gets `state`.

    A start that fails for a reason the operator can mend is reported as one sentence, without a traceback.
    """

    def __init__(
        self, app: ASGIApp, alive: Callable[[], AbstractAsyncContextManager[None]], state: Mapping[str, Any]
    ) -> None:
        self._app = app
        self._alive = alive
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        await receive()
        started = False
        try:
            async with self._alive():
                scope.get("state", {}).update(self._state)
                started = True
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except StartupError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
        except Exception:
            _log.exception(
                "unexpected error while stopping" if started else "unexpected error while starting"
            )
            await send({"type": f"lifespan.{'shutdown' if started else 'startup'}.failed", "message": ""})
        else:
            await send({"type": "lifespan.shutdown.complete"})
