"""Unknown query parameters are refused: a client with a mistyped filter must not get everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request, params
from fastapi.dependencies.utils import get_flat_params

from mosic.errors import InvalidRequest

METADATA_PREFIX = "metadata."
"""Behind it a list has the name of a value in the clips' own data."""

_SHOWN = 5
_SHOWN_LENGTH = 64


async def known_parameters(request: Request) -> None:
    """Dependency of routes, after the one for the key. Raises `InvalidRequest`, which names the unknown
    ones."""
    if request.scope["query_string"]:
        refuse_unknown(request, set(_known(request.scope["route"])))


def refuse_unknown(request: Request, known: Collection[str]) -> None:
    """Raises `InvalidRequest` when the query has other parameters than these, or one of them twice."""
    query: bytes = request.scope["query_string"]
    names = Counter(name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    unknown = [name[:_SHOWN_LENGTH] for name in names if name not in known and not _is_metadata(name, known)]
    if unknown:
        more = f" (and {len(unknown) - _SHOWN} more)" if len(unknown) > _SHOWN else ""
        shown = unknown[:_SHOWN]
        raise InvalidRequest(
            f"This route has no query parameter {', '.join(map(repr, shown))}{more}.",
            errors=[{"loc": ["query", name], "msg": "not a parameter of this route"} for name in shown],
        )
    # Which of two values was meant is unknown.
    if twice := [name for name, times in names.items() if times > 1]:
        raise InvalidRequest(
            f"The query parameter {twice[0]!r} was given more than once.",
            errors=[{"loc": ["query", name], "msg": "given more than once"} for name in twice[:_SHOWN]],
        )


def _is_metadata(name: str, known: Collection[str]) -> bool:
    return name.startswith(METADATA_PREFIX) and f"{METADATA_PREFIX}NAME" in known


def _known(route: Any) -> Iterator[str]:
    """The parameters that FastAPI reads for the route, and those that the route reads and documents
    itself."""
    for parameter in get_flat_params(route.dependant):
        if not isinstance(parameter.field_info, params.Path | params.Header | params.Cookie):
            yield parameter.alias
    for described in (route.openapi_extra or {}).get("parameters", ()):
        if described["in"] == "query":
            yield described["name"]
