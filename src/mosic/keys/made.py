"""Keys and secrets that Mosic makes itself."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from mosic.disk import fsync, locked, make_folder, publish
from mosic.errors import StartupError


def new_key() -> str:
    """A new key of 256 random bits. The prefix lets people, and programs that search for leaked
    secrets, recognise it."""
    return f"mosic_{secrets.token_urlsafe(32)}"


def read_or_make(file: Path) -> str:
    """The key or secret in the file, which only this account may read; made when it is missing.

    Raises `StartupError`. The file is in `MOSIC_DATA_DIR`.
    """
    try:
        make_folder(file.parent)
        if not file.exists():
            # Several workers may start at the same time: one makes it, the others read it.
            with locked(file.parent, wait=True):
                if not file.exists():
                    _make(file)
        text = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it has characters that a key cannot have"
        raise StartupError(f"MOSIC_DATA_DIR: {file} cannot be read or made: {why}") from error
    if not text:
        raise StartupError(f"MOSIC_DATA_DIR: {file} is empty; remove it to have a new one made")
    return text


def _make(file: Path) -> None:
    """No reader ever sees half a key, and a key that was shown survives a crash."""
    made = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(new_key() + "\n")
            out.flush()
            fsync(out.fileno())
        with suppress(FileExistsError):
            publish(made, file)
    finally:
        made.unlink(missing_ok=True)
