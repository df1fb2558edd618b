"""How a route that reads is declared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter

_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])


def readable(router: APIRouter, path: str, **options: Any) -> Callable[[_Endpoint], _Endpoint]:
    """Like `router.get`, and answers HEAD too: FastAPI, unlike Starlette, leaves that to its users.

    (The server drops the body of an answer to HEAD.)
    """

    def declare(endpoint: _Endpoint) -> _Endpoint:
        router.get(path, **options)(endpoint)
        router.head(path, **{**options, "include_in_schema": False})(endpoint)
        return endpoint

    return declare
