"""What a failed request means for the file that it was about, and for all others."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mosic.errors import TooManyFailures
from mosic.wire.dates import parse_http_date
from mosic.wire.fields import essence_of

_TRY_AGAIN = frozenset((408, 409, 423, 425, 429))
# 5xx that a retry does not change: not implemented, version not supported, insufficient storage.
_FINAL = frozenset((501, 505, 507))


class Failed(Exception):
    """This file cannot be uploaded; the message says why."""


class Refused(Failed):
    """The service refuses this file, or a request about it; the upload cannot be continued.

    `code` is that of the problem, None where the response is not from Mosic.
    """

    def __init__(self, reason: str, code: str | None = None) -> None:
        super().__init__(reason)
        self.code = code


class ServiceFailed(Failed):
    """No file can be uploaded; the message says why."""


class Redirected(ServiceFailed):
    """The service redirects to another URL, which is not followed; the message says where to."""


class TryAgain(Exception):
    """The same request may succeed later, not before `retry_after` seconds."""

    def __init__(self, reason: str, retry_after: float = 0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class NotFound(Exception):
    """The service does not have it, or no longer; the message is that of the service."""


class BodyTooLarge(Refused):
    """Not the service but a proxy in front of it refuses a body of this size."""


def failure_of(status: int, phrase: str | None, headers: Mapping[str, str], body: bytes) -> Exception:
    """One of the above, for a status from 400 on; the message is that of the service, if there is one."""
    problem = _problem(headers, body)
    code = problem.get("code")
    reason = f"{problem.get('detail')} ({code})" if code else f"HTTP {status} {phrase or ''}".strip()
    if status == 401 or code == TooManyFailures.code:
        return ServiceFailed(reason)
    if status in (404, 410):
        return NotFound(reason)
    if status == 413 and not code:
        return BodyTooLarge(reason)
    if status in _TRY_AGAIN or (status >= 500 and status not in _FINAL):
        return TryAgain(reason, _retry_after(headers))
    return Refused(reason, code)


def _problem(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The members of a problem (RFC 9457); empty for any other body."""
    if essence_of(headers.get("Content-Type", "")) != "application/problem+json":
        return {}
    try:
        problem = json.loads(body)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds from now (RFC 9110 §10.2.3)."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]{1,9}", text):
        return float(text)
    now = datetime.now(UTC)
    moment = parse_http_date(text, now=now)
    return max(0.0, (moment - now).total_seconds()) if moment else 0
