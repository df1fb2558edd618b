"""The base of the tree of errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar


class MosicError(Exception):
    """The base of all. Subclasses set the class variables; an instance has the sentence about one request.

    `headers` are sent with the response (RFC 9110 requires some of them), `extra` are members added to the
    problem body (RFC 9457 §3.2).
    """

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]

    def __init__(
        self,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.detail = detail or self.title
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})
        super().__init__(self.detail)


class StartupError(Exception):
    """The service cannot start. The message is for the operator, names the setting, and is shown
    unchanged."""


def all_errors() -> Iterator[type[MosicError]]:
    """Every class of the tree that a client can get, in the order of definition."""
    pending = list(MosicError.__subclasses__())
    while pending:
        error = pending.pop(0)
        yield error
        pending.extend(error.__subclasses__())
