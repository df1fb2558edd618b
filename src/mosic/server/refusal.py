"""Responses that the server makes itself, and connections that end without losing them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from mosic.errors import MosicError
from mosic.wire.problem import PREFIX_OF, error_response

REPORT_REFUSAL = "mosic.report_refusal"
"""In the state of the lifespan: to be called for each refusal, with the error and the host of the client (or
None); gives the id of the request."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The response to what the application never sees, the last one on its connection."""

    error: MosicError
    to_head: bool
    """A response to HEAD has no body."""

    def response(
        self, state: Mapping[str, Any], client: str | None, fields: Iterable[tuple[bytes, bytes]]
    ) -> bytes:
        """All of it; `fields` come first. `state` is that of the lifespan, `client` a host."""
        report, prefix_of = state.get(REPORT_REFUSAL), state.get(PREFIX_OF)
        made = error_response(
            self.error,
            prefix=prefix_of(None) if prefix_of is not None else "",
            request_id=report(self.error, client) if report is not None else None,
        )
        lines = [b": ".join(field) for field in (*fields, *made.fields, (b"connection", b"close"))]
        head = STATUS_LINE[made.status] + b"\r\n".join(lines) + b"\r\n\r\n"
        return head if self.to_head else head + made.body


class Lingering:
    """The transport of an exchange whose request has a body: closed by `close`, which knows whether the
    client is still sending."""

    __slots__ = ("_transport", "close")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport = transport
        self.close = close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
