"""Files with secrets: reading them, and checking who else can read or write them."""

from __future__ import annotations

import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

_MOST_SIZE = 64 * 1024


def read_secret(file: Path) -> str:
    """The text of a file without the newline at its end. Raises `ValueError` with the reason."""
    try:
        # Reading a pipe would wait, and each worker would have to read it.
        if not stat.S_ISREG(file.stat().st_mode):
            raise ValueError("is not a file")
        with file.open("rb") as opened:
            content = opened.read(_MOST_SIZE + 1)
        text = content.decode("utf-8-sig").rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    if not text:
        raise ValueError("is empty")
    if len(content) > _MOST_SIZE:
        raise ValueError(f"has more than {_MOST_SIZE} bytes")
    return text


def warning_about_readers(file: Path, setting: str) -> str | None:
    """The warning about a file with secrets that every account of this machine can read, or None."""
    try:
        if not file.stat().st_mode & stat.S_IROTH:
            return None
        folders_open = all(folder.stat().st_mode & stat.S_IXOTH for folder in file.resolve().parents)
    except OSError:
        return None
    # A container runtime mounts secrets in this way, and no other account is there to read them.
    if not folders_open or file.is_relative_to("/run/secrets"):
        return None
    return f"{setting}: every account of this machine can read {file}, which holds secrets: chmod 600 it"


def changed_by_others(file: Path) -> str | None:
    """Why an account other than this one and root can change the file; None if none can.

    Under sudo, root also trusts files of the account that called it.
    """
    try:
        found = file.stat()
    except OSError:
        return None
    trusted = {0, os.geteuid()}
    if os.geteuid() == 0:
        with suppress(KeyError, ValueError):
            trusted.add(int(os.environ["SUDO_UID"]))
    if found.st_uid not in trusted:
        return f"belongs to {_account(found.st_uid)}"
    return "can be written by every account" if found.st_mode & stat.S_IWOTH else None


def _account(uid: int) -> str:
    try:
        return f"the account {pwd.getpwuid(uid).pw_name!r}"
    except KeyError:
        return f"the account with the number {uid}"
