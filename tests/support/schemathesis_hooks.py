"""What schemathesis has to be told about this service (SCHEMATHESIS_HOOKS)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import schemathesis

KNOWN = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")


@schemathesis.check
def never_a_fault(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    """No 5xx, but for the 501 that a method which Mosic does not know is answered with (RFC 9110 §9.1)."""
    unknown = str(case.method).upper() not in KNOWN
    if unknown and response.status_code == HTTPStatus.NOT_IMPLEMENTED:
        return
    assert response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR, response.text[:500]
