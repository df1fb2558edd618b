"""Run commands, and end them with a message when they fail."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import typer

from mosic.archive import ArchiveError
from mosic.errors import MosicError, StartupError

_T = TypeVar("_T")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def or_exit(work: Callable[[], _T]) -> _T:
    """A failure is a sentence for the operator, not a traceback."""
    from mosic.logs import without_home

    try:
        return work()
    except (StartupError, MosicError, ArchiveError) as error:
        typer.echo(without_home(f"mosic: {error}"), err=True)
        sys.exit(1)
