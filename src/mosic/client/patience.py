"""How often something is tried again that went wrong, and how long to wait before it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from mosic.client.service import Service
from mosic.client.verdict import Failed, Hopeless, Trouble

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.5, 30.0
_LONGEST_RETRY_AFTER_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Wait:
    """Before the next attempt: why, and for how long. It is one of so many that may fail in a row."""

    reason: str
    seconds: float
    attempt: int
    attempts: int

    def __str__(self) -> str:
        digits = 0 if self.seconds >= 10 else 1
        return (
            f"{self.reason}; trying again in {self.seconds:.{digits}f} s ({self.attempt} of {self.attempts})"
        )


class Patience:
    """For one piece of work: `retries` attempts in a row may bring nothing."""

    def __init__(self, service: Service, retries: int) -> None:
        self._service = service
        self._retries = retries
        self._failures = 0
        self._signs = self._signs_before = service.signs_of_life

    def begin(self) -> None:
        """To be called before each attempt."""
        self._signs_before = self._service.signs_of_life

    def after(self, trouble: Trouble, *, got_on: bool) -> Wait:
        """What comes after an attempt that failed; whether it `got_on` before. Raises `Failed` when there is
        to be no other, and `Hopeless` when the service has shown no sign of life all the while, whatever it
        was asked.
        """
        if got_on:
            self._failures = 0
        self._failures += 1
        if self._failures == 1:
            self._signs = self._signs_before
        if self._failures > self._retries:
            if self._service.signs_of_life <= self._signs:
                raise Hopeless(str(trouble)) from trouble
            raise Failed(
                f"{trouble}, in {self._failures} attempts" if self._failures > 1 else str(trouble)
            ) from trouble
        if trouble.retry_after > _LONGEST_RETRY_AFTER_SECONDS:
            raise Failed(f"{trouble}; the service asks to wait {trouble.retry_after:.0f} s") from trouble
        longest = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2.0 ** min(self._failures - 1, 10))
        # Not all that were cut off at once shall come back at once.
        seconds = max(trouble.retry_after, longest * random.uniform(0.5, 1))  # noqa: S311
        return Wait(str(trouble), seconds, self._failures, self._retries)
