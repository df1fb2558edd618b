"""`mosic`: the commands."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer

from mosic import __version__
from mosic.cli import using
from mosic.cli.running import or_exit, run

RUN, KEEP = "Run a service", "Look after a service"

running = typer.Typer()
keys = typer.Typer(help="API keys: who may write.", no_args_is_help=True)
keeping = typer.Typer()
app = typer.Typer(
    name="mosic",
    help="Upload, understand, store and stream audio.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


@running.command(rich_help_panel=RUN)
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

    or_exit(lambda: run(host=host, port=port, workers=workers, reload=reload))


@running.command(rich_help_panel=RUN)
def demo() -> None:
    """Add six short clips, and say where they can be heard."""
    from mosic.cli import demo as adding

    or_exit(lambda: run(adding.demo()))


@running.command(rich_help_panel=RUN)
def migrate() -> None:
    """Bring the database to the revision that this version needs."""
    from mosic.cli import admin

    or_exit(lambda: run(admin.migrate()))


@keys.command("new")
def new_key(
    name: Annotated[str, typer.Argument(help="Who it is for, as the log and the metrics will show it.")],
    add: Annotated[
        bool, typer.Option("--add", help="Also append it to the file of MOSIC_API_KEYS_FILE.")
    ] = False,
) -> None:
    """Print a fresh key with its name, as a line for the file of MOSIC_API_KEYS_FILE."""
    from mosic.cli import keys as managing

    or_exit(lambda: managing.new(name, add=add))


@keys.command("list")
def list_keys(json: using.Json = False) -> None:
    """Show the names of the keys and where they are set, never the keys."""
    from mosic.cli import keys as managing

    or_exit(lambda: managing.show(json=json))


@keys.command("revoke")
def revoke_key(name: Annotated[str, typer.Argument(help="Whose key.")]) -> None:
    """Take the keys of a name out of the file of MOSIC_API_KEYS_FILE; the rest of it stays as it is."""
    from mosic.cli import keys as managing

    raise typer.Exit(or_exit(lambda: managing.take_away(name)))


@keeping.command(rich_help_panel=KEEP)
def sweep(
    grace: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds that a leftover must be old (MOSIC_SWEEP_GRACE_SECONDS)."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even where more blobs have no clip than have one.")
    ] = False,
    empty_trash: Annotated[
        bool, typer.Option("--empty-trash", help="Also remove for good all clips that are in the trash.")
    ] = False,
) -> None:
    """Remove what is expired or orphaned, as the service does now and then."""
    from mosic.cli import maintain

    or_exit(lambda: run(maintain.sweep(grace_seconds=grace, force=force, empty_trash=empty_trash)))


@keeping.command(rich_help_panel=KEEP)
def audit(
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
    grace: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds that an orphan must be old (MOSIC_SWEEP_GRACE_SECONDS)."),
    ] = None,
) -> None:
    """Read every blob and report the missing, corrupt and orphaned ones; exits with 1 if there are any."""
    from mosic.cli import maintain

    or_exit(lambda: run(maintain.audit(grace_seconds=grace, as_json=as_json)))


@keeping.command(rich_help_panel=KEEP)
def backup(
    folder: Annotated[Path, typer.Argument(help="Where to; a backup that is there is brought up to date.")],
    force: Annotated[
        bool, typer.Option("--force", help="Even where more than a tenth of what is there would go.")
    ] = False,
) -> None:
    """Save all clips with their bytes and plays to a folder, also while the service runs."""
    from mosic.cli import backup as saving

    or_exit(lambda: run(saving.backup(folder, force=force)))


@keeping.command(rich_help_panel=KEEP)
def restore(
    folder: Annotated[Path, typer.Argument(help="Where `mosic backup` has saved to.")],
    previous: Annotated[
        bool, typer.Option("--previous", help="What the backup before the last one has saved.")
    ] = False,
) -> None:
    """Fill an empty service with what was saved."""
    from mosic.cli import backup as saving

    or_exit(lambda: run(saving.restore(folder, previous=previous)))


@keeping.command("adopt-store", rich_help_panel=KEEP)
def adopt_store(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take the store for this database's own, whatever else it was."""
    from mosic.cli import adopt

    or_exit(lambda: run(adopt.adopt_store(yes=yes)))


# In the order of use, which help keeps.
app.add_typer(running)
app.add_typer(keys, name="key", rich_help_panel=RUN)
app.add_typer(using.app)
app.add_typer(keeping)
