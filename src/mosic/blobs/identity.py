"""What a store says of itself: the one object `mosic-store.json` beside its blobs.

It names the store by an id that the database of its service knows too: docs/decisions/0019-identity.md.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError

from mosic import disk

IDENTITY_NAME = "mosic-store.json"
MOST_BYTES = 4096
"""Larger ones are not read: whatever it is, it is no identity."""


class StoreIdentity(BaseModel):
    """The content. `id` is the store's own, made when a database adopted it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1] = 1
    about: str = "Which database this store of Mosic belongs to. Keep it beside the blobs."
    id: UUID
    adopted_at: datetime

    def to_bytes(self) -> bytes:
        return self.model_dump_json(indent=2).encode() + b"\n"

    @classmethod
    def from_bytes(cls, content: bytes) -> StoreIdentity:
        """Raises `ValueError` for what is no identity."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"]) from None


def read_file(path: Path) -> bytes | None:
    """Its content, empty for what is no file or too large; None when there is nothing. Raises `OSError`."""
    try:
        # Not a link to elsewhere, nor a pipe, which would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            return b""
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return b""
    with open(descriptor, "rb") as file:
        content = file.read(MOST_BYTES + 1)
    return content if len(content) <= MOST_BYTES else b""


def write_file(path: Path, content: bytes, mode: int, *, replace: bool) -> None:
    """Whole and on disk, or not there. Raises `FileExistsError` without `replace`, `OSError`."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with beside.open("xb") as file:
            disk.set_mode(file.fileno(), mode)
            file.write(content)
            file.flush()
            disk.fsync(file.fileno())
        disk.publish(beside, path, replace=replace)
    finally:
        with suppress(FileNotFoundError):
            beside.unlink()
