"""What each error means and what to do about it: for docs/errors.md and the page that the service serves."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files

from mosic.errors.base import MosicError, all_errors


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of one code. `meaning` and `remedy` are Markdown: code between back quotes, and
    links."""

    code: str
    status: int
    meaning: str
    remedy: str


def explanations() -> list[Explanation]:
    """For every error that a client can get, sorted by code."""
    advised = remedies()
    return [
        Explanation(error.code, error.status, _meaning(error), advised.get(error.code, ""))
        for error in sorted(all_errors(), key=lambda one: one.code)
    ]


def remedies() -> dict[str, str]:
    """Code → what to do about it."""
    return tomllib.loads(files(__package__).joinpath("remedies.toml").read_text("utf-8"))


def _meaning(error: type[MosicError]) -> str:
    own = error.__doc__ if "__doc__" in vars(error) else None
    return " ".join((f"{error.title}.", *(own or "").split()))
