"""The folders that a service keeps things in, made and looked over at its start."""

from __future__ import annotations

import os
from pathlib import Path

from mosic import disk
from mosic.disk import Keeping
from mosic.errors import StartupError
from mosic.settings import Settings
from mosic.settings.store import FolderStore


def store_folders(settings: Settings) -> dict[str, Path]:
    """By the setting that names each, the folders that clips and their uploads are kept in."""
    folders = {"MOSIC_MEDIA_ROOT": settings.media_root}
    if isinstance(settings.store_url, FolderStore):
        folders["MOSIC_STORE_URL"] = settings.store_url.folder
    return folders


def store_place(settings: Settings) -> str:
    """The store, for the operator: the setting that names it, and what it says."""
    if settings.store_url is not None:
        return f"MOSIC_STORE_URL ({settings.store_url.url})"
    return f"MOSIC_MEDIA_ROOT ({settings.media_root.absolute()})"


def make_folder(path: Path, setting: str, file_mode: int | None = None) -> None:
    """Create a missing folder, for files of that mode; raises `StartupError` naming the setting when it
    cannot be used."""
    try:
        disk.make_folder(path, None if file_mode is None else Keeping(file_mode=file_mode).folder_mode)
    except OSError as error:
        raise StartupError(f"{setting}: the folder {path} cannot be made: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise StartupError(f"{setting}: the folder {path} cannot be written")


def check_file_system(folder: Path, setting: str) -> None:
    """Log what its file system does not promise; raises `StartupError` where it cannot be used."""
    try:
        disk.check_file_system(folder, setting)
    except OSError as error:
        if disk.is_no_room(error):
            return  # what is there can still be heard
        raise StartupError(f"{setting}: the folder {folder} cannot be used: {error.strerror}") from error
