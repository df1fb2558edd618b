"""Responses that the server makes itself, and connections that end without losing them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from mosic.errors import MosicError
from mosic.wire.problem import MEDIA_TYPE, NO_SNIFFING, problem_body


def refusal(
    error: MosicError,
    fields: Iterable[tuple[bytes, bytes]],
    request_id: str | None,
    *,
    prefix: str,
    to_head: bool,
) -> bytes:
    """A whole response, which closes the connection; `fields` come first. One to HEAD has no body.

    `prefix` is as for `problem_body`.
    """
    body = problem_body(error, prefix)
    named = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), **error.headers}
    if request_id is not None:
        named["x-request-id"] = request_id
    head = b"".join(b"%s: %s\r\n" % field for field in (*fields, NO_SNIFFING))
    head += "".join(f"{name}: {value}\r\n" for name, value in named.items()).encode("latin-1")
    return STATUS_LINE[error.status] + head + b"connection: close\r\n\r\n" + (b"" if to_head else body)


class Lingering:
    """The transport of an exchange whose request has a body: closed by `close`, which knows whether the
    client is sending still."""

    __slots__ = ("_transport", "close")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport = transport
        self.close = close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
