"""Errors → RFC 9457 responses: one form, made in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mosic.errors import (
    BadRequest,
    ExternalIdTaken,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    MosicError,
    NotFound,
)
from mosic.web.deps import runtime_of
from mosic.web.urls import Urls
from mosic.wire.problem import ERROR_PAGE, MEDIA_TYPE, PREFIX_OF, cut, error_response

# A response may quote the request, but must not grow with it.
_MOST_ERRORS = 20
_LONGEST_NAME = 100


class ProblemResponse(Response):
    """`application/problem+json` for one error."""

    def __init__(self, error: MosicError) -> None:
        self._error = error
        made = error_response(error)
        super().__init__(made.body, made.status)
        self.raw_headers = made.fields

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix_of = scope.get("state", {}).get(PREFIX_OF)
        if prefix_of is not None and (prefix := prefix_of(scope)):
            self.body = error_response(self._error, prefix=prefix).body
            self.headers["Content-Length"] = str(len(self.body))
        await super().__call__(scope, receive, send)


def as_mosic_error(error: Exception, scope: Scope) -> MosicError | None:
    """The `MosicError` for what the framework raised; None for an unexpected error."""
    if isinstance(error, MosicError):
        return error
    if isinstance(error, RequestValidationError):
        return invalid_request(None, error.errors())
    if isinstance(error, HTTPException):
        if error.status_code == 404:
            return NotFound()
        if error.status_code == 405:
            return MethodNotAllowed(headers={"Allow": ", ".join(sorted(_allowed(scope)))})
        if error.status_code == 422:
            return InvalidRequest(error.detail)
        if 400 <= error.status_code < 500:
            return BadRequest(error.detail)
    return None


def invalid_request(place: str | None, found: Sequence[Mapping[str, Any]]) -> InvalidRequest:
    """One error for everything that pydantic found; each location begins with `place` (body, query). The
    first errors are listed, the others counted."""
    errors = [
        {
            "loc": [*([place] if place else []), *map(_short_name, problem["loc"])],
            "msg": cut(problem["msg"].removeprefix("Value error, "), _LONGEST_NAME),
        }
        for problem in found[:_MOST_ERRORS]
    ]
    where = ".".join(str(part) for part in errors[0]["loc"][1:]) or errors[0]["loc"][0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return InvalidRequest(f"{where}: {errors[0]['msg']}{more}", errors=errors)


def _short_name(part: str | int) -> str | int:
    return part if isinstance(part, int) else cut(part, _LONGEST_NAME)


def _allowed(scope: Scope) -> set[str]:
    """The methods of every route at this path; Starlette names those of one route only."""
    methods: set[str] = set()
    for route in scope["app"].state.all_routes:
        if route.path_regex.match(scope["path"]):
            methods |= route.methods
    return methods


async def _respond(request: Request, error: Exception) -> ProblemResponse:
    known = as_mosic_error(error, request.scope)
    if known is None:
        raise error
    rt = runtime_of(request)
    rt.metrics.requests.failed(known.code)
    if isinstance(known, ExternalIdTaken) and "clip_id" in known.extra:
        known.extra["clip_url"] = Urls.of(request, rt.settings).clip(known.extra["clip_id"])
    return ProblemResponse(known)


async def _respond_to_unexpected(request: Request, _: Exception) -> ProblemResponse:
    """For unexpected errors. Starlette raises the error again after the response; Instrument logs it."""
    runtime_of(request).metrics.requests.failed(InternalError.code)
    request_id = request.scope["mosic.request_id"]
    return ProblemResponse(InternalError(f"The log has the cause under the request id {request_id}."))


def install_error_responses(app: FastAPI) -> None:
    app.add_exception_handler(Exception, _respond_to_unexpected)
    for kind in (MosicError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _respond)


def problems(*errors: type[MosicError]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route with these errors. `mosic.web.described` adds the schema that they refer
    to."""
    found: dict[int | str, dict[str, Any]] = {}
    for error in dict.fromkeys(errors):
        text = f"`{error.code}`: {error.title}."
        said = found.setdefault(
            error.status,
            {
                "description": "",
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
            },
        )
        said["description"] = f"{said['description']} {text}".strip()
        said["content"][MEDIA_TYPE]["examples"][error.code] = {
            "summary": error.title,
            "value": {
                "type": f"{ERROR_PAGE}#{error.code}",
                "title": error.title,
                "status": error.status,
                "detail": error.title,
                "code": error.code,
            },
        }
    return found
