"""The one log line of each request."""

from __future__ import annotations

import logging
import time
from typing import Any

import structlog
from structlog.processors import JSONRenderer
from structlog.stdlib import ProcessorFormatter

_NAME = "mosic.request"
_log = structlog.get_logger(_NAME)
_level = logging.getLogger(_NAME)
_root = logging.getLogger()


class RequestLog:
    """Writes a line when requests are logged at all. Where lines are JSON it is put together here: on the way
    through structlog it takes longer than sending a range of a file does."""

    def __init__(self) -> None:
        self._handler: logging.Handler | None = None
        self._stream: Any = None
        self._second = -1
        self._time = ""

    def write(
        self,
        *,
        request_id: str,
        method: str,
        route: str,
        status: int,
        seconds: float,
        sent: int,
        key_name: str | None,
    ) -> None:
        """None of the texts has characters that JSON would have to escape."""
        if not _level.isEnabledFor(logging.INFO):
            return
        handler = _root.handlers[0] if len(_root.handlers) == 1 else None
        if handler is not self._handler:
            self._handler, self._stream = handler, _json_stream(handler)
        if handler is None or self._stream is None:
            _log.info(
                "request",
                request_id=request_id,
                method=method,
                route=route,
                status=status,
                seconds=round(seconds, 6),
                sent=sent,
                **({"key_name": key_name} if key_name is not None else {}),
            )
            return
        whose = f'"key_name": "{key_name}", ' if key_name is not None else ""
        line = (
            f'{{"request_id": "{request_id}", "method": "{method}", "route": "{route}", "status": {status}, '
            f'"seconds": {seconds:.6f}, "sent": {sent}, {whose}"event": "request", "level": "info", '
            f'"logger": "{_NAME}", "timestamp": "{self._now()}"}}\n'
        )
        handler.acquire()
        try:
            self._stream.write(line)
            handler.flush()
        except (OSError, ValueError):
            pass  # a log that cannot be written must not fail the request; logging itself does no other
        finally:
            handler.release()

    def _now(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._time = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._time}.{int((now - second) * 1_000_000):06}Z"


def _json_stream(handler: logging.Handler | None) -> Any:
    """Where `mosic.logs` sends its lines, when it makes them JSON."""
    if not isinstance(handler, logging.StreamHandler) or not isinstance(
        handler.formatter, ProcessorFormatter
    ):
        return None
    return handler.stream if isinstance(handler.formatter.processors[-1], JSONRenderer) else None
