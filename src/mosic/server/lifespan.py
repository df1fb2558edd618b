"""The service's life: open before the first request, close after the last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import structlog

from mosic.errors import StartupError
from mosic.server.asgi import ASGIApp, Receive, Scope, Send

_log = structlog.get_logger("mosic.start")


class Lifespan:
    """ASGI, around everything: keeps `alive` open while the application serves. What it gives is the state of
    the lifespan, which each request finds in its scope, under `state`.

    A start that fails for a reason that the operator can remove is reported as one sentence, without a
    traceback. A start that has to stop closes what it has opened; to the server it is one that failed.
    """

    def __init__(
        self, app: ASGIApp, alive: Callable[[], AbstractAsyncContextManager[Mapping[str, Any]]]
    ) -> None:
        self._app = app
        self._alive = alive
        self._state: dict[str, Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            if "state" not in scope:  # servers need not support it
                scope["state"] = self._state.copy()
            await self._app(scope, receive, send)
            return
        await receive()
        opening = asyncio.current_task()
        assert opening is not None
        started = False

        def stop(_: object) -> None:
            if not started:
                opening.cancel()

        stopping = asyncio.ensure_future(receive())
        stopping.add_done_callback(stop)
        try:
            async with self._alive() as state:
                self._state = dict(state)
                scope.get("state", {}).update(state)
                started = True
                await send({"type": "lifespan.startup.complete"})
                await stopping
        except asyncio.CancelledError:
            if started or not stopping.done() or stopping.cancelled():
                raise
            opening.uncancel()
            await send({"type": "lifespan.startup.failed", "message": ""})
        except StartupError as error:
            # Under a name of Mosic's own, which the server does not give to what it is sent.
            _log.critical(str(error))
            await send({"type": "lifespan.startup.failed", "message": ""})
        except Exception:
            _log.exception(
                "unexpected error while stopping" if started else "unexpected error while starting"
            )
            await send({"type": f"lifespan.{'shutdown' if started else 'startup'}.failed", "message": ""})
        else:
            await send({"type": "lifespan.shutdown.complete"})
        finally:
            stopping.remove_done_callback(stop)
            stopping.cancel()
