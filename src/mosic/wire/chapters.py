"""A chapter of a clip."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chapter:
    """In seconds from the beginning; `end` is None where the file does not say it."""

    start: float
    end: float | None
    title: str
