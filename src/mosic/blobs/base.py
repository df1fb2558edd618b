"""The contract of a blob store: a handful of methods on a finished local file, and what they promise.

A blob is immutable: its bytes never change under a `blob_key`, they only appear (`put`) and go (`delete`).
The contract suite in `tests/blobs/` runs over every store.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

# Only what Mosic itself makes (the hex form of a UUID), so that no key can ever be a path.
_BLOB_KEY = re.compile(r"[0-9a-f]{32}")


def is_blob_key(text: str) -> bool:
    return _BLOB_KEY.fullmatch(text) is not None


def check_blob_key(blob_key: str) -> str:
    """Return the key, or raise `ValueError`: a wrong one is a fault in Mosic, never the client's."""
    if not is_blob_key(blob_key):
        raise ValueError(f"not a blob key: {blob_key!r}")
    return blob_key


@dataclass(frozen=True, slots=True)
class BlobStat:
    """What a store knows of a blob without reading it."""

    size: int
    modified_at: datetime


class OpenBlob(Protocol):
    """A blob held open: a `delete` meanwhile does not disturb its reader. Must be closed."""

    @property
    def size(self) -> int: ...

    def read_now(self, start: int, size: int) -> bytearray | None:
        """Up to `size` bytes from `start` that can be had without waiting; None when none can.

        The buffer is the caller's: the store keeps no reference to it.
        """
        ...

    async def read(self, start: int, size: int) -> bytes | bytearray:
        """Up to `size` bytes from `start`, at least one unless `start` is at the end.

        Raises `OSError` when the medium fails.
        """
        ...

    def close(self) -> None:
        """Let go of it. Does not block; calling it again does nothing."""
        ...


class BlobStore(Protocol):
    """Where blobs live. Every method is safe to call at the same time from many tasks and processes."""

    lasting: ClassVar[bool]
    """Whether blobs are there after the end of the process that put them."""

    async def start(self) -> None:
        """Make ready and check that the store can be written; raises `StartupError` when it cannot."""
        ...

    async def close(self) -> None:
        """Let go of everything. Blobs that are still held open can be read no more."""
        ...

    async def check(self) -> None:
        """Raises `InsufficientStorage` or `Unavailable` when the store cannot be written at the moment."""
        ...

    async def put(self, blob_key: str, path: Path) -> None:
        """Publish the finished file at `path` under `blob_key`.

        The store takes the file over: afterwards nothing is left at `path`. Returning means that the blob
        survives a crash of the machine. Nobody ever sees half a blob. Raises `InsufficientStorage` when there
        is no room, `Unavailable` when the medium fails, `FileExistsError` when the key is taken (the blob
        there is left as it was).
        """
        ...

    async def duplicate(self, blob_key: str, other_key: str) -> None:
        """Make the blob available under a second key as well, for good, where possible without a copy.

        Raises `BlobMissing` when there is none, and for the second key what `put` raises.
        """
        ...

    async def stat(self, blob_key: str) -> BlobStat | None:
        """Size and time of the blob, None when there is none. Raises `Unavailable` when the medium fails."""
        ...

    def open_now(self, blob_key: str) -> OpenBlob | None:
        """Like `open`, if that takes no waiting; else None."""
        ...

    async def open(self, blob_key: str) -> OpenBlob:
        """Hold the blob open for reading; raises `BlobMissing` when there is none, and `Unavailable` when the
        medium fails."""
        ...

    async def delete(self, blob_key: str) -> bool:
        """Remove the blob; False when there was none. Those who hold it open go on reading.

        Once this has returned, nobody can open the blob any more, in no process.
        """
        ...

    def forget(self, blob_key: str) -> None:
        """Let go of what is kept of the blob for its next readers, as it was probably removed elsewhere.

        This only frees resources; what `open` promises holds without it.
        """
        ...

    def forget_all(self) -> None:
        """`forget` for every blob."""
        ...

    def keys(self) -> AsyncIterator[str]:
        """Every key in no order. Blobs that come or go meanwhile may or may not be seen."""
        ...

    async def identity(self) -> bytes | None:
        """What was last given to `identify`, at most 4 KiB, kept under the name `mosic-store.json`; None when
        the store has none. Something else under that name may give any bytes.

        Raises `Unavailable` when the medium fails.
        """
        ...

    async def identify(self, content: bytes, *, replace: bool = False) -> bool:
        """Say who the store is; False when it has an identity already, which only `replace` overwrites.

        Of several who call it at once without `replace` one succeeds. Returning True means that the identity
        survives a crash of the machine; nobody ever sees half of it. Raises like `put`.
        """
        ...


@runtime_checkable
class FilesBelow(Protocol):
    """Besides: a store of plain files below one folder, which another program may read."""

    def path_below_root(self, blob_key: str) -> str:
        """Where the blob is, from that folder on, in characters that mean nothing in a URL: `blobs/5b/…`."""
        ...


@runtime_checkable
class LeavesUnfinished(Protocol):
    """Besides: a store in which a `put` that is killed may leave something that `keys` does not show."""

    async def remove_unfinished(self, grace_seconds: float) -> int:
        """Remove what nobody has worked on for so long, and nobody works on; says how many."""
        ...
