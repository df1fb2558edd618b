"""`mosic`: the commands."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from mosic import __version__
from mosic.archive import ArchiveError
from mosic.errors import MosicError, StartupError

app = typer.Typer(
    name="mosic",
    help="Upload, understand, store and stream audio.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

keys = typer.Typer(help="API keys.", no_args_is_help=True)
app.add_typer(keys, name="key")

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
    # Until it serves: to look for garbage while all is being imported takes a fifth of the time of a start.
    gc.disable()
    from mosic.cli.serve import serve as run

    _or_exit(lambda: run(host=host, port=port, workers=workers, reload=reload))


@keys.command("new")
def new_key(
    name: Annotated[str, typer.Argument(help="Who it is for, as the log and the metrics will show it.")],
) -> None:
    """Print a fresh key with its name, as a line for the file of MOSIC_API_KEYS_FILE."""
    from mosic.cli import admin

    typer.echo(admin.new_key_line(name))


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


@app.command()
def sweep(
    grace: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds that a leftover must be old (MOSIC_SWEEP_GRACE_SECONDS)."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even where more blobs have no clip than have one.")
    ] = False,
) -> None:
    """Remove what is expired or orphaned, as the service does now and then."""
    from mosic.cli import maintain

    _or_exit(lambda: _run(maintain.sweep(grace_seconds=grace, force=force)))


@app.command()
def audit(
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
    grace: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds that an orphan must be old (MOSIC_SWEEP_GRACE_SECONDS)."),
    ] = None,
) -> None:
    """Read every blob and report the missing, corrupt and orphaned ones; exits with 1 if there are any."""
    from mosic.cli import maintain

    _or_exit(lambda: _run(maintain.audit(grace_seconds=grace, as_json=as_json)))


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="Where to; a backup that is there is brought up to date.")],
) -> None:
    """Save all clips with their bytes and plays to a folder, also while the service runs."""
    from mosic.cli import backup as saving

    _or_exit(lambda: _run(saving.backup(folder)))


@app.command()
def restore(folder: Annotated[Path, typer.Argument(help="Where `mosic backup` has saved to.")]) -> None:
    """Fill an empty service with what was saved."""
    from mosic.cli import backup as saving

    _or_exit(lambda: _run(saving.restore(folder)))


@app.command()
def upload(
    paths: Annotated[list[str], typer.Argument(help="Files, and folders to search for audio.")],
    url: Annotated[
        str | None,
        typer.Option(help="Address of the service (MOSIC_PUBLIC_URL, else this machine and MOSIC_APP_PORT)."),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(help="API key (MOSIC_API_KEY, else the one kept in MOSIC_DATA_DIR, for this machine)."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Files at once.")] = 3,
    retries: Annotated[
        int, typer.Option(min=0, max=1000, help="Attempts in a row that may bring nothing, per file.")
    ] = 8,
    chunk_mb: Annotated[
        float | None,
        typer.Option(min=0.01, help="MiB in one request, at most, for proxies with a limit; default: all."),
    ] = None,
) -> None:
    """Send audio files, and go on where an earlier call was ended; what is there already is skipped."""
    from mosic.cli import upload as uploading

    options = uploading.Options(url=url, api_key=api_key, jobs=jobs, retries=retries, chunk_mb=chunk_mb)
    raise typer.Exit(uploading.upload(paths, options))


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _or_exit(work: Callable[[], object]) -> None:
    """What goes wrong is a sentence for the operator, not a traceback."""
    from mosic.logs import without_home

    try:
        work()
    except (StartupError, MosicError, ArchiveError) as error:
        typer.echo(without_home(f"mosic: {error}"), err=True)
        sys.exit(1)
