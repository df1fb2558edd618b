"""`mosic`: the commands."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

import typer

from mosic import __version__
from mosic.errors import MosicError, StartupError

app = typer.Typer(
    name="mosic",
    help="Upload, understand, store and stream audio.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

_T = TypeVar("_T")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mosic {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Settings come from the environment (MOSIC_*) and a .env file."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (MOSIC_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (MOSIC_APP_PORT).")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes (MOSIC_WORKERS).")] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Start again when the code changes.")] = False,
) -> None:
    """Run the service."""
    from mosic.cli.serve import serve as run

    _or_exit(lambda: run(host=host, port=port, workers=workers, reload=reload))


@app.command()
def migrate() -> None:
    """Bring the database to the revision that this version needs."""
    from mosic.cli import admin

    _or_exit(lambda: _run(admin.migrate()))


@app.command()
def demo() -> None:
    """Add six short clips, so that there is something to play."""
    from mosic.cli import admin

    _or_exit(lambda: _run(admin.demo()))


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _or_exit(work: Callable[[], object]) -> None:
    """What goes wrong is a sentence for the operator, not a traceback."""
    try:
        work()
    except (StartupError, MosicError) as error:
        typer.echo(f"mosic: {error}", err=True)
        sys.exit(1)
