"""Responses that are bytes of a blob, in front of FastAPI and other layers, which cost more than those bytes.

A route of this kind says which requests are its own, and opens what is sent for them. All else is done here,
in the same way for each of them: request id, errors, metrics, log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Protocol

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from mosic.core.delivery import Delivery
from mosic.core.runtime import Runtime
from mosic.errors import ClientDisconnected, InternalError, MosicError
from mosic.server.transport import Transport
from mosic.web.deps import RUNTIME, utc_now
from mosic.web.errors import ProblemResponse
from mosic.web.instrument import RequestRecorder, choose_request_id, request_id_in_logs
from mosic.web.requestlog import RequestRecord, written_path
from mosic.web.send import send_delivery
from mosic.wire.fields import select_fields
from mosic.wire.retrieval import RETRIEVAL_FIELDS, Retrieval, read_retrieval

_log = structlog.get_logger("mosic.request")

_REQUEST_ID = "x-request-id"
_FIELDS = {name.encode("ascii"): name for name in (*RETRIEVAL_FIELDS, _REQUEST_ID)}
_ROUTE = "mosic.delivery_route"
_TRANSPORT = "mosic.transport"
_COMPLETE = "complete"


class DeliveryRoute(Protocol):
    """A route whose responses are bytes of a blob."""

    path: str
    """Its template, for metrics and the log."""

    def matches(self, scope: Scope) -> bool:
        """Whether this GET or HEAD is for this route; if so, what it needs to know of the path is in the
        scope from now on."""
        ...

    async def open(self, rt: Runtime, scope: Scope, asked: Retrieval) -> Delivery:
        """Open what is sent; raises `MosicError` for a request that is refused."""
        ...

    def opened(self, seconds: float) -> None:
        """The first bytes are ready to be sent, so long after the head of the request."""
        ...

    def ended(self, outcome: str) -> None:
        """What became of a response with bytes: `complete`, or the code of the error that ended or refused
        it."""
        ...


class Deliveries:
    """ASGI: responds for `routes`, and leaves other requests to `others`.

    Layers around `others` do not see these requests. One that has to is put around `deliver`.
    """

    def __init__(self, others: ASGIApp, routes: Sequence[DeliveryRoute], recorder: RequestRecorder) -> None:
        self._others = others
        self._routes = tuple(routes)
        self._recorder = recorder
        self.deliver: ASGIApp = self._deliver

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            for route in self._routes:
                if route.matches(scope):
                    scope[_ROUTE] = route
                    transport = scope[_TRANSPORT] = Transport.of(send)
                    try:
                        await self.deliver(scope, receive, send)
                    finally:
                        transport.end()
                    return
        await self._others(scope, receive, send)

    async def _deliver(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        rt: Runtime = scope["state"][RUNTIME]
        route: DeliveryRoute = scope[_ROUTE]
        fields = select_fields(scope["headers"], _FIELDS)
        request_id = choose_request_id(fields.get(_REQUEST_ID))
        bound = request_id_in_logs.set(request_id)
        status = ClientDisconnected.status
        sent = 0
        delivery: Delivery | None = None
        outcome: str | None = None
        try:
            delivery = await route.open(rt, scope, read_retrieval(scope["method"], fields, utc_now))
            async with delivery:
                status = delivery.status
                delivery.headers = (*delivery.headers, (b"x-request-id", request_id.encode("ascii")))
                if delivery.first:
                    route.opened(perf_counter() - started)
                    outcome = _COMPLETE
                await send_delivery(delivery, receive, send, scope[_TRANSPORT])
        except (ClientDisconnected, asyncio.CancelledError):
            # Cancelled is what is still open when the time to stop in order is over: the task ends anyway.
            outcome = ClientDisconnected.code
            scope[_TRANSPORT].give_up()
        except Exception as error:
            outcome = error.code if isinstance(error, MosicError) else InternalError.code
            _log_fault(error, scope)
            if delivery is not None:
                raise  # the connection is then cut: the only way to say that the response is not whole
            status, sent = await self._refuse(error, request_id, scope, receive, send)
        finally:
            request_id_in_logs.reset(bound)
            if outcome is not None:
                route.ended(outcome)
            if delivery is not None:
                sent = delivery.sent
            self._recorder.record_request(
                RequestRecord(scope, route.path, request_id, status, perf_counter() - started, sent)
            )

    async def _refuse(
        self, error: Exception, request_id: str, scope: Scope, receive: Receive, send: Send
    ) -> tuple[int, int]:
        """Respond with the error; returns the status and the size of the body that is sent."""
        if not isinstance(error, MosicError):
            error = InternalError(f"The log has the cause under the request id {request_id}.")
        self._recorder.metrics.requests.failed(error.code)
        response = ProblemResponse(error)
        response.headers["X-Request-ID"] = request_id
        await response(scope, receive, send)
        return response.status_code, 0 if scope["method"] == "HEAD" else len(response.body)


def _log_fault(error: Exception, scope: Scope) -> None:
    """Log what only the operator can repair."""
    if not isinstance(error, MosicError):
        _log.exception("unexpected error", method=scope["method"], path=written_path(scope, refused=True))
    elif error.status == InternalError.status:  # the store has lost the clip's bytes
        _log.error(error.detail, code=error.code, path=written_path(scope, refused=True))
