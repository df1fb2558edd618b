"""The way in of listeners, in front of FastAPI and all other layers: they cost more than sending a range."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from time import perf_counter

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from mosic.core.delivery import Stream
from mosic.core.runtime import Runtime
from mosic.core.stream import open_stream
from mosic.errors import ClientDisconnected, InternalError, MosicError
from mosic.metrics import Metrics
from mosic.server.transport import Transport
from mosic.web.deps import utc_now
from mosic.web.errors import ProblemResponse
from mosic.web.instrument import choose_request_id, request_id_in_logs, tell_of_request
from mosic.web.paths import CLIP, PREFIX, routed_path
from mosic.web.requestlog import written_path
from mosic.web.routes.stream import PATH
from mosic.web.send import send_stream
from mosic.wire.fields import select_fields
from mosic.wire.retrieval import RETRIEVAL_FIELDS, read_retrieval

_log = structlog.get_logger("mosic.request")

_END = "/stream"
# For players and feeds that go by the ending of a URL.
_WITH_ENDING = re.compile(r"(.*/stream)(\.[A-Za-z0-9+]{1,8})")
_ENDING = "mosic.ending"
_COMPLETE = "complete"
_REQUEST_ID = "x-request-id"
_FIELDS = {name.encode("ascii"): name for name in (*RETRIEVAL_FIELDS, _REQUEST_ID)}


class StreamDoor:
    """ASGI: answers GET and HEAD of `/play/{id}/stream`, under every prefix, also with the ending of the clip
    behind it (`/stream.mp3`), and leaves the rest to `others`.

    For its requests it does what `OnePath` and `Instrument` do for the others. A layer that is to see them
    too has to be put around `listen`.
    """

    def __init__(
        self,
        others: ASGIApp,
        metrics: Metrics,
        alias_prefixes: Iterable[str],
        check: Callable[[Runtime, Scope], None] | None = None,
    ) -> None:
        """`check` raises when a request must not be answered; without it everybody may listen."""
        self._others = others
        self._check = check
        self._metrics = metrics
        self._prefixes = frozenset((PREFIX, *alias_prefixes))
        self.listen: ASGIApp = self._listen
        self.runtime: Runtime | None = None
        """To be set before the first request."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._is_for_listeners(scope):
            transport = scope["mosic.transport"] = Transport.of(send)
            try:
                await self.listen(scope, receive, send)
            finally:
                transport.end()
        else:
            await self._others(scope, receive, send)

    def _is_for_listeners(self, scope: Scope) -> bool:
        """If so, says in the scope what stands for the clip's id."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return False
        path = routed_path(scope)
        if path.endswith("/"):
            path = path[:-1]
        if not path.endswith(_END):
            parted = _WITH_ENDING.fullmatch(path) if "/stream." in path else None
            if parted is None:
                return False
            path, scope[_ENDING] = parted[1], parted[2]
        prefix, _, name = path[: -len(_END)].rpartition("/")
        scope[CLIP] = name
        return prefix in self._prefixes

    async def _listen(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        rt = self.runtime
        assert rt is not None
        fields = select_fields(scope["headers"], _FIELDS)
        asked = read_retrieval(scope["method"], fields, utc_now)
        request_id = choose_request_id(fields.get(_REQUEST_ID))
        bound = request_id_in_logs.set(request_id)
        status = ClientDisconnected.status
        stream: Stream | None = None
        outcome: str | None = None
        refusal = 0
        try:
            if self._check is not None:
                self._check(rt, scope)
            stream = await open_stream(rt, scope[CLIP], asked, scope.get(_ENDING))
            status = stream.status
            stream.headers = (*stream.headers, (b"x-request-id", request_id.encode("ascii")))
            if stream.first:
                self._metrics.streams.opened(perf_counter() - started)
                outcome = _COMPLETE
            await send_stream(stream, receive, send, scope["mosic.transport"], rt.metrics.streams, rt.plays)
        except (ClientDisconnected, asyncio.CancelledError):
            # Cancelled is what is still open when the time to stop in order is over: the task ends anyway.
            outcome = ClientDisconnected.code
            scope["mosic.transport"].give_up()
        except Exception as error:
            outcome = error.code if isinstance(error, MosicError) else InternalError.code
            if not isinstance(error, MosicError):
                _log.exception(
                    "unexpected error", method=scope["method"], path=written_path(scope, refused=True)
                )
            elif error.status == InternalError.status:
                # What nobody but the operator can mend: the store has lost the clip's bytes.
                _log.error(error.detail, code=error.code, path=written_path(scope, refused=True))
            if stream is not None:
                raise  # the connection is then cut: the only way to say that the answer is not whole
            status, refusal = await self._refuse(error, request_id, scope, receive, send)
        finally:
            request_id_in_logs.reset(bound)
            if outcome is not None:
                self._metrics.streams.outcome(outcome)
            tell_of_request(
                self._metrics,
                rt.settings.forwarded_allow_ips,
                scope,
                route=PATH,
                status=status,
                seconds=perf_counter() - started,
                sent=stream.sent if stream is not None else refusal,
                request_id=request_id,
            )

    async def _refuse(
        self, error: Exception, request_id: str, scope: Scope, receive: Receive, send: Send
    ) -> tuple[int, int]:
        """Answer with the error; returns the status and the size of the body that is sent."""
        if not isinstance(error, MosicError):
            error = InternalError(f"The log has the cause under the request id {request_id}.")
        self._metrics.requests.failed(error.code)
        answer = ProblemResponse(error)
        answer.headers["X-Request-ID"] = request_id
        await answer(scope, receive, send)
        return answer.status_code, 0 if scope["method"] == "HEAD" else len(answer.body)
