"""Declares routes that read: GET and HEAD."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Depends

from mosic.web.parameters import known_parameters

_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])


def readable(
    router: APIRouter, path: str, *, any_parameters: bool = False, **options: Any
) -> Callable[[_Endpoint], _Endpoint]:
    """Like `router.get`, and also for HEAD, which FastAPI, unlike Starlette, does not add.

    (The server drops the body of an answer to HEAD.) Query parameters that the route does not know are
    refused, but with `any_parameters`: for what players and browsers ask, which add some of their own.
    """
    if not any_parameters:
        options["dependencies"] = [*options.get("dependencies", ()), Depends(known_parameters)]

    def declare(endpoint: _Endpoint) -> _Endpoint:
        router.get(path, **options)(endpoint)
        router.head(path, **{**options, "include_in_schema": False})(endpoint)
        return endpoint

    return declare
