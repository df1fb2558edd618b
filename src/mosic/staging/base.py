"""The contract of an upload area: where the bytes of uploads are received until they become blobs.

An area stores the bytes of an upload under a name that its user chooses. The names and offsets of resumable
uploads are in the database; an area only has to do what is promised here, so that an object store can be one
as well as a folder. The contract suite in `tests/staging/` runs over every area.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mosic.wire.tus import Checksum

LEFTOVER_SECONDS = 60
"""What nobody has written to for so long was left behind."""

Chunk = bytes | bytearray
"""Bytes that nobody changes any more."""


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A whole file on a local disk, fsynced, not yet published. `sha256` is in hex."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Position:
    """Where a request continues an upload: behind the first `offset` bytes that are stored under `name`.

    With `cut` bytes that are stored behind them are removed; without, they are an `OffsetMismatch`.
    """

    name: str
    offset: int
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """What a request is about to bring.

    `limit` is the most that the whole upload may have. `declared_size` is the most that the sender says will
    come now; None when it says nothing. Bytes with a `checksum` are kept as a whole or not at all.
    """

    limit: int
    declared_size: int | None = None
    checksum: Checksum | None = None


class UploadWriter(Protocol):
    """Takes the bytes of one request, in order."""

    @property
    def size(self) -> int:
        """Bytes of the upload with all that `write` has taken."""
        ...

    async def write(self, chunk: Chunk | memoryview) -> None:
        """Takes all of `chunk`, or raises `TooLarge` and takes nothing of it.

        Waits only while the medium is behind. Raises `InsufficientStorage` or `Unavailable` when the medium
        fails, perhaps for earlier bytes.
        """
        ...

    def flush(self) -> None:
        """Starts to write what was gathered, without waiting. An error shows at the next call that waits."""
        ...

    async def sync(self) -> int:
        """The size of the upload, once all of it survives a crash of the machine.

        Raises like `write`, and `ChecksumMismatch` when the bytes are not those of the checksum.
        """
        ...

    async def salvage(self) -> int:
        """After `write` or `sync` raised `InsufficientStorage` or `Unavailable`: how much of the upload
        survives a crash of the machine. The rest is gone."""
        ...

    def acknowledge(self) -> None:
        """The sender was promised what `sync` or `salvage` has returned: nobody will cut it off."""
        ...

    async def finish(self) -> StagedFile:
        """`sync`, and the upload as a file, for which only bytes that came to other processes are read again.
        The file of an upload in one request is there until the writer's block is left."""
        ...


class UploadArea(Protocol):
    """Where uploads are received. Every method may be called at the same time from many tasks and processes;
    only what `admit` knows of running uploads is that of its own process.

    Names have 1 to 64 letters, digits and hyphens of ASCII; another one raises `UploadNotFound`.
    """

    async def close(self) -> None:
        """Let go of everything. Nothing may be received any more."""
        ...

    async def check(self) -> None:
        """Raises `InsufficientStorage` or `Unavailable` when nothing can be written at the moment."""
        ...

    async def free_bytes(self) -> int:
        """Room for uploads; raises `Unavailable` when that cannot be found out."""
        ...

    async def admit(self, size: int) -> None:
        """Raises `InsufficientStorage` if `size` bytes do not fit beside what running uploads still need."""
        ...

    def create(self, incoming: Incoming) -> AbstractAsyncContextManager[UploadWriter]:
        """Receives an upload in one request. When the block is left it is removed, unless it was published.

        Raises `TooLarge` and `InsufficientStorage` when what was declared is too much.
        """
        ...

    def append(self, position: Position, incoming: Incoming) -> AbstractAsyncContextManager[UploadWriter]:
        """Continues a resumable upload, or begins it at offset 0.

        The bytes before the offset must have been confirmed, by `sync`, `confirm` or `copy`. When the block
        is left, everything received survives a crash of the machine, also when an exception leaves it; what
        the medium did not take is cut off. With a checksum an exception takes back all that came in this
        block, unless `finish` has been called. A process that dies leaves what it wrote: whether that counts
        is not for the area to say.

        Raises `OffsetMismatch` when it has not exactly the bytes of the position (what does not exist has
        none), `UploadLocked` when another writer has it or this one was stopped by `interrupt`,
        and like `create`.
        """
        ...

    async def copy(self, source: str, offset: int, name: str) -> None:
        """Stores the first `offset` bytes of `source` under a new `name` too. Once it returns they survive a
        crash of the machine.

        A writer may still add bytes to `source` behind them. Raises `OffsetMismatch` when it has fewer bytes,
        `InsufficientStorage` and `Unavailable`; then nothing is stored under the new name.
        """
        ...

    def finish(self, name: str) -> AbstractAsyncContextManager[StagedFile]:
        """An upload that has all its bytes as a file, which the block may take away to publish it.

        A writer may still have the upload. Raises `FileNotFoundError` when there is nothing under the name,
        `InsufficientStorage` and `Unavailable`.
        """
        ...

    async def discard(self, name: str) -> None:
        """Removes what is there, if anything. A writer that still has it writes to nothing that anybody will
        see."""
        ...

    async def size(self, name: str) -> int:
        """How many bytes there are, confirmed or not; 0 when nothing is there."""
        ...

    async def confirm(self, name: str) -> int:
        """How many bytes there are once they survive a crash of the machine, whoever has written them.

        Raises `Unavailable` or `InsufficientStorage` when that cannot be said, now or ever.
        """
        ...

    async def is_held(self, name: str) -> bool:
        """Whether a writer, of whatever process, is seen to have it at this moment."""
        ...

    def is_held_here(self, name: str) -> bool:
        """Whether a writer of this process has it."""
        ...

    async def interrupt(self, name: str, *, seconds: float | None = None) -> None:
        """Stops the writer of this process that has the upload, and waits until it has stopped, or for so
        many seconds.

        Its request is cancelled wherever it waits inside its block, and leaves it with `UploadLocked`; what
        it received is kept as `append` says. Without such a writer nothing happens.
        """
        ...

    async def idle(self, grace_seconds: float = LEFTOVER_SECONDS) -> list[str]:
        """The names of resumable uploads that nobody has or has written to for so long."""
        ...

    async def sweep(self, grace_seconds: float = LEFTOVER_SECONDS) -> int:
        """Removes what `create` left behind in processes that were killed, once nobody has written to it for
        so long; returns how many. What a living process has stays, whatever its age."""
        ...
