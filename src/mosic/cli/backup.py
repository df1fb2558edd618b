"""`mosic backup` and `mosic restore`: everything a service keeps, to a folder and back."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from mosic.archive import Archive, ArchiveError, Manifest
from mosic.boot import open_storage
from mosic.cli.setup import set_up
from mosic.core.backup import Progress
from mosic.core.backup import backup as save
from mosic.core.places import store_folders, store_place
from mosic.core.restore import restore as bring_back
from mosic.core.room import keeping_of_backup
from mosic.errors import StartupError
from mosic.settings import Settings
from mosic.settings.store import MemoryStore


async def backup(folder: Path, *, force: bool) -> None:
    """Exits with 1 when clips were saved without their bytes; all others are complete then. `force`: also
    when much of the folder would be removed."""
    settings = _settings()
    _refuse_inside(folder, settings)
    archive = Archive(folder, keeping_of_backup(settings, folder))
    shown = _Shown()
    last = Progress()

    def tell(progress: Progress) -> None:
        nonlocal last
        last = progress
        shown.say(f"{progress.copied} copied, {progress.copied_bytes / 1e6:.0f} MB")

    async with open_storage(settings, existing=True) as storage:
        try:
            with archive.writing():
                manifest = await save(storage.engine, storage.blobs, archive, on_progress=tell, force=force)
        except OSError as error:
            raise _unusable(folder, error) from error
        finally:
            shown.clear()
    typer.echo(
        f"Saved {_contents(manifest)} in {folder}; {last.copied} blobs ({last.copied_bytes / 1e6:.1f} MB) "
        "were new."
    )
    if _tell_damaged(manifest):
        raise typer.Exit(1)


async def restore(folder: Path, *, previous: bool) -> None:
    """Fill the empty service that the settings name. `previous`: from the last backup but one."""
    settings = _settings()
    archive = Archive(folder, previous=previous)
    # Checks that change nothing come first: a first start makes a database and folders.
    shown = _Shown()
    try:
        archive.read()
        async with open_storage(settings) as storage:
            manifest = await bring_back(
                storage.engine,
                storage.blobs,
                storage.staging,
                archive,
                place=store_place(settings),
                on_progress=lambda done: shown.say(f"{done} blobs"),
            )
    except OSError as error:
        raise _unusable(folder, error) from error
    finally:
        shown.clear()
    typer.echo(f"Restored {_contents(manifest)}, saved {manifest.created_at:%Y-%m-%d %H:%M} UTC.")
    _tell_damaged(manifest)


def _settings() -> Settings:
    settings = set_up()
    if isinstance(settings.store, MemoryStore):
        raise StartupError("MOSIC_STORE_URL=memory: only the process of the service can use this store")
    return settings


def _refuse_inside(folder: Path, settings: Settings) -> None:
    """A backup removes unknown files from its folder, and a sweep may do so in the media root."""
    place = folder.resolve()
    roots = {**store_folders(settings), "MOSIC_DATA_DIR": settings.data_dir}
    for name, path in roots.items():
        root = path.resolve()
        if place.is_relative_to(root) or root.is_relative_to(place):
            raise ArchiveError(f"{folder} and {name} must not be inside each other.")


def _unusable(folder: Path, error: OSError) -> ArchiveError:
    return ArchiveError(f"{error.filename or folder}: {error.strerror or error}")


def _contents(manifest: Manifest) -> str:
    return f"{manifest.clips} clips with {manifest.blobs} blobs ({manifest.bytes / 1e6:.1f} MB)"


def _tell_damaged(manifest: Manifest) -> bool:
    for one in manifest.damaged:
        typer.echo(f"mosic: clip {one.clip_id} was saved without its bytes: {one.detail}", err=True)
    return bool(manifest.damaged)


class _Shown:
    """Progress, on one line of a terminal that is overwritten."""

    def __init__(self) -> None:
        self._wanted = sys.stderr.isatty()

    def say(self, text: str) -> None:
        if self._wanted:
            typer.echo(f"\r\x1b[K{text}", nl=False, err=True)

    def clear(self) -> None:
        if self._wanted:
            typer.echo("\r\x1b[K", nl=False, err=True)
