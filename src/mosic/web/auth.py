"""API keys: who may write."""

from __future__ import annotations

import hashlib
import hmac

from fastapi import Request
from fastapi.security import APIKeyHeader

from mosic.errors import Unauthorized
from mosic.web.deps import runtime_of

HEADER = "X-API-Key"

# Only for the documentation and its «Authorize» button; `require_key` does the work.
api_key_header = APIKeyHeader(name=HEADER, auto_error=False, description="Needed for every write.")


async def require_key(request: Request) -> None:
    """Dependency of every write; raises `Unauthorized` before a byte of the body is read."""
    presented = request.headers.get(HEADER)
    if presented is None:
        raise Unauthorized(f"Send the key in the header {HEADER}.")
    digest = hashlib.sha256(presented.encode("latin-1")).digest()
    valid = False
    # All are compared, each in constant time: the time taken tells nothing about which came close.
    for known in runtime_of(request).api_key_digests:
        valid |= hmac.compare_digest(digest, known)
    if not valid:
        raise Unauthorized(f"The key in the header {HEADER} is not valid.")
