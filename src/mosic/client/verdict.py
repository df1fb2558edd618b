"""What an answer that is not a success means for the file, and for all the others."""

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
# These 5xx say what will still be so in a moment: not implemented, version not supported, no room.
_FINAL = frozenset((501, 505, 507))


class Failed(Exception):
    """This file cannot be uploaded; the message says why."""


class Refused(Failed):
    """The service has judged this file, or what was asked for it; nothing of the upload is worth keeping.

    `code` is that of the problem, None for an answer that Mosic does not give.
    """

    def __init__(self, reason: str, code: str | None = None) -> None:
        super().__init__(reason)
        self.code = code


class Hopeless(Failed):
    """No file can be uploaded; the message says why."""


class Redirected(Hopeless):
    """The service leads elsewhere, and nobody has said that it may; the message says where."""


class Trouble(Exception):
    """It may work a little later, and not before `retry_after` seconds."""

    def __init__(self, reason: str, retry_after: float = 0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Missing(Exception):
    """The service does not have what was asked about, or no longer; the message is what it says."""


class BodyTooLarge(Refused):
    """Not the service but something before it takes no body of this size."""


def verdict(status: int, phrase: str | None, headers: Mapping[str, str], body: bytes) -> Exception:
    """One of the above, for a status from 400 on; the reason in the words of the service, if it gives any."""
    problem = _problem(headers, body)
    code = problem.get("code")
    reason = f"{problem.get('detail')} ({code})" if code else f"HTTP {status} {phrase or ''}".strip()
    if status == 401 or code == TooManyFailures.code:
        return Hopeless(reason)
    if status in (404, 410):
        return Missing(reason)
    if status == 413 and not code:
        return BodyTooLarge(reason)
    if status in _TRY_AGAIN or (status >= 500 and status not in _FINAL):
        return Trouble(reason, _retry_after(headers))
    return Refused(reason, code)


def _problem(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The members of a problem (RFC 9457); none for an answer that is none."""
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
