"""Medians, ratios, and a table of them."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from statistics import median


def machine() -> str:
    load = os.getloadavg()[0]
    python = platform.python_version()
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {python}, load {load:.1f} at the start"


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"\n## {title}\n", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of measurements taken next to each other: a busy moment hits both."""
    return median(mine / other for mine, other in zip(ours, theirs, strict=True))
