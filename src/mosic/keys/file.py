"""Changes of the key file by commands: it is replaced as a whole, because a service may read it at any
time."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mosic.disk import fsync, locked, publish
from mosic.errors import StartupError
from mosic.wire.apikeys import MOST_SIZE, NamedKey, parse_key_file, without_name

_NAME = "MOSIC_API_KEYS_FILE"


def add_line(file: Path, line: str) -> None:
    """Append a line. A missing file is made, readable by this account only. Raises `StartupError`."""

    def append(content: bytes) -> bytes:
        return content + (b"" if not content or content.endswith(b"\n") else b"\n") + line.encode() + b"\n"

    _change(file, append, make=True)


def revoke(file: Path, name: str) -> int:
    """Remove every key of that name and return how many there were; 0 changes nothing.

    Raises `StartupError`, also when no key would be left: a service does not accept such a file, and would
    keep the previous keys.
    """
    count = 0

    def take_out(content: bytes) -> bytes:
        nonlocal count
        keys = _parsed(file, content)
        count = sum(key.name == name for key in keys)
        if 0 < count == len(keys):
            raise StartupError(
                f"{_NAME}: {file} has no keys but those of {name}. A file without keys is not accepted, and "
                "its previous keys would stay valid. Add another key first (`mosic key new NAME --add`), or "
                f"unset {_NAME} and restart the service."
            )
        return without_name(content, name)

    _change(file, take_out, make=False)
    return count


def _parsed(file: Path, content: bytes) -> tuple[NamedKey, ...]:
    try:
        return parse_key_file(content)
    except ValueError as error:
        raise StartupError(f"{_NAME}: {file}: {error}") from error


def _change(file: Path, edit: Callable[[bytes], bytes], *, make: bool) -> None:
    """Comments, mode and owner stay. Concurrent changes are made one after the other."""
    # If it is a link, replace the file that it points to.
    real = Path(os.path.realpath(file))
    try:
        with locked(real.parent, wait=True):
            before = real.stat() if real.exists() or not make else None
            content = b"" if before is None else _read(real)
            changed = edit(content)
            if changed == content:
                return
            # Check it like a service.
            _parsed(file, changed)
            _replace(real, changed, before)
    except OSError as error:
        raise StartupError(f"{_NAME}: {file} cannot be changed: {error.strerror}") from error


def _read(file: Path) -> bytes:
    if not file.is_file():
        raise StartupError(f"{_NAME}: {file} is not a file")
    with file.open("rb") as opened:
        return opened.read(MOST_SIZE + 1)


def _replace(file: Path, content: bytes, before: os.stat_result | None) -> None:
    made = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            if before is not None:
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    # The service may run as another account, which must still be able to read it.
                    os.fchown(out.fileno(), before.st_uid, before.st_gid)
                os.fchmod(out.fileno(), stat.S_IMODE(before.st_mode))
            out.write(content)
            out.flush()
            fsync(out.fileno())
        publish(made, file, replace=True)
    finally:
        with suppress(FileNotFoundError):
            made.unlink()
