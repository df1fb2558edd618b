"""The contract of a blob store: five methods, and what they promise.

A blob is immutable: its bytes never change under a `blob_key`, they only appear (`put`) and go (`delete`).
What only some stores can do is a protocol of its own below. The contract suite in `tests/blobs/` runs over
every store.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

Span = tuple[int, int]
"""Of bytes: the first one's position, and that behind the last."""

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
    """A blob held open to send one span of it, once: a `delete` meanwhile does not disturb its reader."""

    @property
    def size(self) -> int:
        """Of the whole blob, in bytes."""
        ...

    async def read(self, size: int) -> bytes | bytearray:
        """The next bytes of the span, `size` at most, at least one; empty at its end.

        What can be had without waiting comes without waiting. The buffer is the caller's. Raises `OSError`
        when the medium fails, and when the blob ends before the span does.
        """
        ...


class BlobStore(Protocol):
    """Where blobs live. Every method is safe to call at the same time from many tasks and processes."""

    async def put(self, blob_key: str, path: Path) -> None:
        """Publish the finished file at `path` under `blob_key`.

        The store takes the file over: afterwards nothing is left at `path`. Returning means that the blob
        survives a crash of the machine. Nobody ever sees half a blob. Raises `InsufficientStorage` when there
        is no room, `Unavailable` when the medium fails, `FileExistsError` when the key is taken (the blob
        there is left as it was).
        """
        ...

    def open(self, blob_key: str, span: Span | None = None) -> AbstractAsyncContextManager[OpenBlob]:
        """A block in which the span can be read, by default the whole blob; the blob is let go at its end.

        A store that is asked over a network needs one request for a span, however many reads there are. An
        empty span is for its `size` alone. Entering raises `BlobMissing` when there is none, `Unavailable`
        when the medium fails.
        """
        ...

    async def stat(self, blob_key: str) -> BlobStat | None:
        """Size and time of the blob, None when there is none. Raises `Unavailable` when the medium fails."""
        ...

    async def delete(self, blob_key: str) -> bool:
        """Remove the blob; False when there was none. Those who hold it open go on reading.

        Once this has returned, nobody can open the blob any more, in no process. Raises `OSError`.
        """
        ...

    def keys(self) -> AsyncIterator[str]:
        """Every key in no order. Blobs that come or go meanwhile may or may not be seen."""
        ...


class ReadsAtOnce(Protocol):
    """Besides: a store that may have bytes in memory, and gives them without a coroutine."""

    def read_now(self, blob_key: str, span: Span, blob_size: int) -> bytearray | None:
        """All bytes of the span of a blob that has this size; None when they cannot be had without waiting,
        or there is no such blob. The buffer is the caller's."""
        ...


def at_once(store: Any) -> ReadsAtOnce | None:
    """The store, if it is one of these: for those who ask it all the time, as `isinstance` takes long."""
    return store if hasattr(store, "read_now") else None


@runtime_checkable
class CopiesBlobs(Protocol):
    """Besides: a store that gives a blob a second key without its bytes passing through this process."""

    async def copy(self, blob_key: str, other_key: str) -> None:
        """Publish the bytes of the blob under the other key as well. Each lives and goes by itself.

        Raises `BlobMissing` when there is none, and for the other key what `put` raises.
        """
        ...


@runtime_checkable
class HasIdentity(Protocol):
    """Besides: a store that outlives the process, so that it can say whose it is (`mosic.blobs.identity`)."""

    async def read_identity(self) -> bytes | None:
        """What was last given to `write_identity`, at most 4 KiB, kept under the name `mosic-store.json`;
        None when the store has none. Something else under that name may give any bytes.

        Raises `Unavailable` when the medium fails.
        """
        ...

    async def write_identity(self, content: bytes, *, replace: bool = False) -> bool:
        """Say who the store is; False when it has an identity already, which only `replace` overwrites.

        Of several who call it at once without `replace` one succeeds. Returning True means that the identity
        survives a crash of the machine; nobody ever sees half of it. Raises like `put`.
        """
        ...


class LastingStore(BlobStore, HasIdentity, Protocol):
    """A store that outlives the process."""


@runtime_checkable
class ChecksWriting(Protocol):
    """Besides: a store that can stop to take blobs, as disks do."""

    async def check_writable(self) -> None:
        """Raises `InsufficientStorage` or `Unavailable` when the store cannot be written at the moment."""
        ...


@runtime_checkable
class FilesBelow(Protocol):
    """Besides: a store of plain files below one folder, which another program may read."""

    def file_of(self, blob_key: str) -> Path:
        """Where the blob is on this machine. It may go at any moment."""
        ...

    def path_below_root(self, blob_key: str) -> str:
        """Where the blob is, from that folder on, in characters that mean nothing in a URL: `blobs/5b/…`."""
        ...


@runtime_checkable
class LeavesUnfinished(Protocol):
    """Besides: a store in which a `put` that is killed may leave something that `keys` does not show."""

    async def remove_unfinished(self, grace_seconds: float) -> int:
        """Remove what nobody has worked on for so long, and nobody works on; says how many."""
        ...
