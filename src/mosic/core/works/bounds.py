"""How often a work is tried, and how long it waits in between."""

from __future__ import annotations

from mosic.settings.timings import Timings

MOST_ATTEMPTS = 5
_LONGER = 6.0


def pause_after(attempts: int, timings: Timings) -> float:
    """Seconds until the next attempt, after so many."""
    longer: float = timings.work_pause * _LONGER ** min(attempts - 1, MOST_ATTEMPTS)
    return min(longer, timings.work_longest_pause)
