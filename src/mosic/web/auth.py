"""Who may write, and who may read if reads are not public: API keys, and signed URLs for players."""

from __future__ import annotations

import time
from typing import Any

import structlog
from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, APIKeyQuery, HTTPBearer
from starlette.types import Scope

from mosic.core.runtime import Runtime
from mosic.errors import ExpiredUrl, InvalidSignature, MosicError, TooManyFailures, Unauthorized
from mosic.web.deps import runtime_of
from mosic.web.errors import problems
from mosic.web.parameters import known_parameters
from mosic.web.paths import CLIP, PREFIX
from mosic.web.proxies import client_address
from mosic.wire.ids import parse_uuid
from mosic.wire.signing import Opened, is_signed

_log = structlog.get_logger("mosic.keys")

HEADER = "X-API-Key"
_FIELD = HEADER.lower().encode("ascii")

KEY_NAME = "mosic.key_name"
"""Scope entry of a request with a valid key: the key's name."""

REFUSALS: tuple[type[MosicError], ...] = (Unauthorized, TooManyFailures)
"""The errors of a route that needs a key."""

# Routes with signed URLs for players, besides that of `mosic.web.routes.stream`. The signature of a stream
# opens its waveform too, as a player draws what it plays.
_SIGNED: dict[str, Opened] = {
    f"{PREFIX}/{{clip_id}}/cover": "cover",
    f"{PREFIX}/{{clip_id}}/waveform": "stream",
}

# Only for the documentation and its «Authorize» button; the functions below check keys.
api_key_header = APIKeyHeader(
    name=HEADER,
    auto_error=False,
    description="Needed for every write, and for reads where they are not public.",
)
bearer_key = HTTPBearer(
    scheme_name="BearerKey",
    auto_error=False,
    description=f"The same key, for clients that cannot send {HEADER}.",
)
signed_url = APIKeyQuery(
    name="signature",
    scheme_name="SignedAddress",
    auto_error=False,
    description="Do not make it yourself: `stream_url` and `cover_url` in responses have it, with `expires`.",
)


def check_key(rt: Runtime, scope: Scope) -> None:
    """Raises `Unauthorized`, or `TooManyFailures` for a wrong key from an IP address that sent many.

    A valid key is always accepted. A request without a key guesses nothing
    and is not counted. Each wrong key is one line in the log, which the filter for fail2ban reads.
    """
    presented = _presented(scope)
    if presented is None:
        raise Unauthorized(f"Send the key in the header {HEADER}, or as Authorization: Bearer.")
    api_key, is_bearer = presented
    holder = rt.keys.holder(api_key)
    if holder is not None:
        scope[KEY_NAME] = holder
        return
    rt.metrics.keys.refused()
    address = client_address(scope, rt.settings.forwarded_allow_ips)
    _log.warning("wrong API key", **({} if address is None else {"address": address}))
    seconds = rt.key_failures.add(address, time.monotonic())
    if not seconds:
        field = "Authorization" if is_bearer else HEADER
        raise Unauthorized(f"The key in the header {field} is not valid.", bearer=is_bearer)
    raise TooManyFailures(seconds)


def _presented(scope: Scope) -> tuple[bytes, bool] | None:
    """The key of the request, and whether it came as Authorization: Bearer (RFC 6750); X-API-Key wins."""
    bearer: bytes | None = None
    for name, value in scope["headers"]:
        if name == _FIELD:
            return value, False
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            bearer = value[7:].strip(b" ")
    return None if bearer is None else (bearer, True)


def sender_of(rt: Runtime, scope: Scope) -> str:
    """Identifies the client for the fairness of probes: by key and IP address, since each may be shared."""
    address = client_address(scope, rt.settings.forwarded_allow_ips)
    return f"{scope.get(KEY_NAME, '')} {address or ''}"


def check_reader(rt: Runtime, scope: Scope, opened: Opened | None = None, clip_id: str = "") -> None:
    """Check that the request may read; call it when reads are not public.

    A key opens everything. A signed URL opens what it was made for: `opened` of the clip whose id is
    `clip_id` (as the client wrote it). Raises like `check_key`, and `InvalidSignature` and `ExpiredUrl`.
    """
    signed = opened is not None and is_signed(scope["query_string"])
    if not signed or _presented(scope) is not None:
        check_key(rt, scope)
        return
    assert opened is not None
    assert rt.signer is not None
    try:
        signed_id = parse_uuid(clip_id)
    except ValueError:
        raise InvalidSignature from None
    rt.signer.check(opened, signed_id, scope["query_string"], time.time())


def check_listener(rt: Runtime, scope: Scope) -> None:
    """For the routes in front of FastAPI, which have put the clip's id of the path into the scope."""
    check_reader(rt, scope, "stream", scope[CLIP])


async def require_key(request: Request) -> None:
    """Dependency of every write; raises before a byte of the body is read."""
    check_key(runtime_of(request), request.scope)


async def _require_reader(request: Request) -> None:
    """Dependency of every read, if reads are not public. Writes have their own check."""
    if request.method in ("GET", "HEAD"):
        opened = _SIGNED.get(request.scope["route"].path)
        check_reader(runtime_of(request), request.scope, opened, request.path_params.get("clip_id", ""))


WITH_KEY = [
    Depends(require_key),
    Depends(api_key_header),
    Depends(bearer_key),
    Depends(known_parameters),
]
READERS = [Depends(_require_reader), Depends(api_key_header), Depends(bearer_key)]


def document_signed_urls(schema: dict[str, Any]) -> None:
    """Name in an OpenAPI document the routes that a signed URL opens without a key."""
    scheme = signed_url.model.model_dump(mode="json", by_alias=True, exclude_none=True)
    schema["components"]["securitySchemes"][signed_url.scheme_name] = scheme
    for path in (f"{PREFIX}/{{clip_id}}/stream", *_SIGNED):
        if path in schema["paths"]:
            operation = schema["paths"][path]["get"]
            operation["security"].append({signed_url.scheme_name: []})
            (answer,) = problems(InvalidSignature, ExpiredUrl).values()
            others = operation["responses"].get("403", {}).get("description", "")
            description = f"{others} {answer['description']}".strip()
            operation["responses"]["403"] = {**answer, "description": description}
