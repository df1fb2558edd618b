"""How often a failed request is tried again, and how long to wait before it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from mosic.client.failures import Failed, ServiceFailed, TryAgain
from mosic.client.service import Service

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.5, 30.0
_LONGEST_RETRY_AFTER_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Wait:
    """Before the next attempt: why, for how long, and which attempt it is of how many in a row."""

    reason: str
    seconds: float
    attempt: int
    attempts: int

    def __str__(self) -> str:
        digits = 0 if self.seconds >= 10 else 1
        return (
            f"{self.reason}; trying again in {self.seconds:.{digits}f} s ({self.attempt} of {self.attempts})"
        )


class Retries:
    """For one piece of work: up to `retries` attempts in a row may make no progress."""

    def __init__(self, service: Service, retries: int) -> None:
        self._service = service
        self._retries = retries
        self._failures = 0
        self._activity = self._activity_before = service.activity

    def begin(self) -> None:
        """To be called before each attempt."""
        self._activity_before = self._service.activity

    def after(self, failure: TryAgain, *, progressed: bool) -> Wait:
        """The wait after a failed attempt; `progressed`: whether it made progress before it failed.

        Raises `Failed` when the attempts are used up, and `ServiceFailed` when the service has responded to
        nothing at all in the meantime.
        """
        if progressed:
            self._failures = 0
        self._failures += 1
        if self._failures == 1:
            self._activity = self._activity_before
        if self._failures > self._retries:
            if self._service.activity <= self._activity:
                raise ServiceFailed(str(failure)) from failure
            raise Failed(
                f"{failure}, in {self._failures} attempts" if self._failures > 1 else str(failure)
            ) from failure
        if failure.retry_after > _LONGEST_RETRY_AFTER_SECONDS:
            raise Failed(f"{failure}; the service asks to wait {failure.retry_after:.0f} s") from failure
        longest = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2.0 ** min(self._failures - 1, 10))
        # Clients that lost their connections at the same moment should not all return at the same moment.
        seconds = max(failure.retry_after, longest * random.uniform(0.5, 1))  # noqa: S311
        return Wait(str(failure), seconds, self._failures, self._retries)
