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
keys = typer.Typer(help="Manage API keys, which allow writing.", no_args_is_help=True)
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
    host: Annotated[
        str | None, typer.Option(help="IP address or host name to listen on (MOSIC_HOST).")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (MOSIC_APP_PORT).")] = None,
    workers: Annotated[int | None, typer.Option(help="Number of worker processes (MOSIC_WORKERS).")] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Restart when the code changes.")] = False,
) -> None:
    """Run the service."""
    # Until it serves: garbage collection during the imports takes a fifth of the time of a start.
    gc.disable()
    from mosic.cli.serve import serve as run

    or_exit(lambda: run(host=host, port=port, workers=workers, reload=reload))


@running.command(rich_help_panel=RUN)
def demo() -> None:
    """Add six short clips, and print the URLs at which they play."""
    from mosic.cli import demo as adding

    or_exit(lambda: run(adding.demo()))


@running.command(rich_help_panel=RUN)
def migrate() -> None:
    """Bring the database to the revision that this version needs."""
    from mosic.cli import admin

    or_exit(lambda: run(admin.migrate()))


@keys.command("new")
def new_key(
    name: Annotated[str, typer.Argument(help="Name of the key's owner, for the log and the metrics.")],
    add: Annotated[
        bool, typer.Option("--add", help="Also append it to the file that MOSIC_API_KEYS_FILE names.")
    ] = False,
) -> None:
    """Make a key and print it with its name, as a line for the file that MOSIC_API_KEYS_FILE names."""
    from mosic.cli import keys as managing

    or_exit(lambda: managing.new(name, add=add))


@keys.command("list")
def list_keys(json: using.Json = False) -> None:
    """Show the names of the keys and where they are set, never the keys."""
    from mosic.cli import keys as managing

    or_exit(lambda: managing.show(json=json))


@keys.command("revoke")
def revoke_key(name: Annotated[str, typer.Argument(help="Name of the key.")]) -> None:
    """Remove the keys of a name from the file that MOSIC_API_KEYS_FILE names; other lines stay."""
    from mosic.cli import keys as managing

    raise typer.Exit(or_exit(lambda: managing.take_away(name)))


@keeping.command(rich_help_panel=KEEP)
def sweep(
    grace: Annotated[
        float | None,
        typer.Option(min=0, help="How old a leftover must be, in seconds (MOSIC_SWEEP_GRACE_SECONDS)."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Sweep even if more blobs belong to no clip than to one.")
    ] = False,
    empty_trash: Annotated[
        bool, typer.Option("--empty-trash", help="Also remove all clips in the trash for good.")
    ] = False,
) -> None:
    """Remove expired uploads and orphaned blobs, as the service does from time to time."""
    from mosic.cli import maintain

    or_exit(lambda: run(maintain.sweep(grace_seconds=grace, force=force, empty_trash=empty_trash)))


@keeping.command(rich_help_panel=KEEP)
def audit(
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
    grace: Annotated[
        float | None,
        typer.Option(min=0, help="How old an orphan must be, in seconds (MOSIC_SWEEP_GRACE_SECONDS)."),
    ] = None,
) -> None:
    """Read every blob and report the missing, corrupt and orphaned ones; exits with 1 if there are any."""
    from mosic.cli import maintain

    or_exit(lambda: run(maintain.audit(grace_seconds=grace, as_json=as_json)))


@keeping.command(rich_help_panel=KEEP)
def work(
    what: Annotated[
        list[str] | None, typer.Argument(help="Id of a clip, and kinds of works; with --all kinds alone.")
    ] = None,
    all_clips: Annotated[bool, typer.Option("--all", help="Learn it again of every clip.")] = False,
) -> None:
    """Show what is being learnt of clips, or learn it again; exits with 1 if some of it fails."""
    from mosic.cli import work as working

    or_exit(lambda: run(working.work(what or (), all_clips=all_clips)))


@keeping.command(rich_help_panel=KEEP)
def backup(
    folder: Annotated[
        Path, typer.Argument(help="Folder of the backup; an existing backup in it is updated.")
    ],
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Save even if more than a tenth of the existing backup would be removed."
        ),
    ] = False,
) -> None:
    """Save all clips with their bytes and plays to a folder, also while the service runs."""
    from mosic.cli import backup as saving

    or_exit(lambda: run(saving.backup(folder, force=force)))


@keeping.command(rich_help_panel=KEEP)
def restore(
    folder: Annotated[Path, typer.Argument(help="Folder in which `mosic backup` has saved.")],
    previous: Annotated[
        bool, typer.Option("--previous", help="Restore the backup before the last one.")
    ] = False,
) -> None:
    """Fill an empty service from a backup."""
    from mosic.cli import backup as saving

    or_exit(lambda: run(saving.restore(folder, previous=previous)))


@keeping.command("adopt-store", rich_help_panel=KEEP)
def adopt_store(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Make the store this database's own, even if it belongs to another one."""
    from mosic.cli import adopt

    or_exit(lambda: run(adopt.adopt_store(yes=yes)))


# In the order in which help shows them.
app.add_typer(running)
app.add_typer(keys, name="key", rich_help_panel=RUN)
app.add_typer(using.app)
app.add_typer(keeping)
