"""How much slower this machine is than one of 2024, for the few tests that bound processor time."""

from __future__ import annotations

import functools
import time


@functools.cache
def slowness() -> float:
    """At least 1."""
    return max(1.0, *(_seconds() / 0.03 for _ in range(3)))


def _seconds() -> float:
    began = time.process_time()
    sum(number * number for number in range(500_000))
    return time.process_time() - began
