"""The staging area: where uploads are received, in one piece or resumed, before they are published."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from mosic import disk
from mosic.disk import Keeping, as_refusal
from mosic.errors import InsufficientStorage, StartupError, TooLarge, UploadLocked, UploadNotFound
from mosic.staging.diskfile import DiskFile, Known, StagedFile
from mosic.staging.leftovers import heed_marks, idle_uploads, sweep
from mosic.staging.looking import confirm, is_locked, read_whole, size_of
from mosic.staging.writer import StagedWriter

if TYPE_CHECKING:
    from hashlib import _Hash

HASHES_KEPT = 1024
LEFTOVER_SECONDS = 60
_UPLOAD_ID = re.compile(r"[0-9A-Za-z-]{1,64}")


class Staging:
    """A folder on the file system that blobs are published to, so that publishing is a rename.

    Nothing here but the constructor blocks the event loop. Several processes may share the folder, each with
    its own `Staging`; only what `admit` knows of running uploads is that of its own process.
    """

    def __init__(self, root: Path, keeping: Keeping | None = None, *, threads: int = 4) -> None:
        """Makes the folder; raises `StartupError` when nothing can be written there."""
        self._keeping = keeping or Keeping()
        try:
            disk.prove_for_start(root, self._keeping.folder_mode)
            heed_marks(root)
        except OSError as error:
            raise StartupError(f"MOSIC_MEDIA_ROOT: cannot write to {root}: {error.strerror}") from None
        self._root = root
        self._threads = [ThreadPoolExecutor(1, thread_name_prefix="staging") for _ in range(threads)]
        self._files_of = Counter[ThreadPoolExecutor]()
        self._writers: set[StagedWriter] = set()
        self._appending: dict[str, tuple[asyncio.Timeout, asyncio.Event]] = {}
        self._hashes: OrderedDict[str, Known] = OrderedDict()

    async def close(self) -> None:
        """Waits for the threads. Nothing may be received any more."""
        for thread in self._threads:
            await asyncio.to_thread(thread.shutdown)

    async def check(self) -> None:
        """Raises `InsufficientStorage` or `Unavailable` when nothing can be written at the moment. A folder
        that was removed is made again."""
        try:
            await asyncio.to_thread(disk.prove_writable, self._root, self._keeping.folder_mode)
        except OSError as error:
            raise as_refusal(error) from error

    async def free_bytes(self) -> int:
        """Room for uploads: what the disk has, without what it keeps for root, less the reserve. Raises
        `Unavailable` when it cannot be told."""
        try:
            return await asyncio.to_thread(self._free_bytes)
        except OSError as error:
            raise as_refusal(error) from error

    def _free_bytes(self) -> int:
        return disk.free_bytes(self._root) - self._keeping.reserve

    async def admit(self, size: int) -> None:
        """Raises `InsufficientStorage` if `size` bytes do not fit beside what running uploads still need."""
        self._admit(size, await self.free_bytes())

    def _admit(self, size: int, free: int) -> None:
        if size > free - sum(writer.outstanding for writer in self._writers):
            raise InsufficientStorage(f"There is not enough disk space for {size} bytes.")

    @asynccontextmanager
    async def receive(
        self, *, limit: int, declared_size: int | None = None, also: _Hash | None = None
    ) -> AsyncIterator[StagedWriter]:
        """Receives one file of at most `limit` bytes. On leaving the block it is removed, unless it was
        published: renamed away.

        `declared_size` is the most that the sender says will come; it must be admitted, and more than `limit`
        is `TooLarge`. `also` is fed every byte by a thread and may be read after `sync` or `finish`.
        """
        if declared_size is not None and declared_size > limit:
            raise TooLarge(f"An upload may have at most {limit} bytes.")
        async with self._writer(f"{uuid4().hex}.part", limit, declared_size, also) as (file, writer):
            try:
                await self._open(writer, file.create, declared_size)
                yield writer
            finally:
                await writer.run(file.discard)

    @asynccontextmanager
    async def append(
        self,
        upload_id: str,
        offset: int,
        *,
        limit: int,
        declared_size: int | None = None,
        also: _Hash | None = None,
        atomic: bool = False,
        cut: bool = False,
        copy_of: str | None = None,
    ) -> AsyncIterator[StagedWriter]:
        """Continues the file of a resumable upload, which may have `limit` bytes in all, from `offset`.

        The first `offset` bytes must have been confirmed, by `sync` or `confirm`. When the block is left,
        everything received is on disk for good, also when an exception leaves it; what the disk did not take
        is cut off. With `atomic` an exception takes back instead what came in this block, unless the file was
        finished. A process that dies leaves what it wrote: whether that counts is not for the file to say.
        With `cut` what the file has behind `offset` goes. With `copy_of` the file is a new one that begins
        with the first `offset` bytes of that other upload's.
        `declared_size` (of what is to come now) and `also` are as in `receive`.

        Raises `OffsetMismatch` when the file does not have `offset` bytes (what does not exist has none), and
        `UploadLocked` when another request is writing to it, or has taken over (`interrupt`).
        """
        name = _file_name(upload_id)
        async with self._writer(name, limit, declared_size, also) as (file, writer):
            keep, timeout, released = not atomic, asyncio.timeout(None), asyncio.Event()
            try:
                async with timeout:
                    known = self._hashes.get(upload_id)
                    opening = (
                        partial(file.resume, offset, known, cut=cut)
                        if copy_of is None
                        else partial(file.copy, self._root / _file_name(copy_of), offset)
                    )
                    await self._open(writer, opening, declared_size)
                    self._appending[upload_id] = timeout, released
                    yield writer
                    await writer.sync()
                    keep = True
            except TimeoutError:
                if timeout.expired():
                    raise UploadLocked("A newer request has taken over this upload.") from None
                raise
            finally:
                try:
                    if keep:
                        writer.hand_over()
                    await writer.run(partial(file.release, keep=keep))
                    self._remember(upload_id, file)
                finally:
                    if self._appending.get(upload_id) == (timeout, released):
                        del self._appending[upload_id]
                    released.set()

    async def interrupt(self, upload_id: str, *, seconds: float | None = None) -> None:
        """Makes the request of this process that appends to this upload let go, and waits until it has, or
        for so many seconds.

        It is cancelled wherever it waits inside its block and leaves it with `UploadLocked`; what it received
        is kept as `append` says. Without such a request nothing happens.
        """
        if upload_id in self._appending:
            timeout, released = self._appending[upload_id]
            with suppress(RuntimeError):  # it is leaving already
                timeout.reschedule(0)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await released.wait()

    def is_appending(self, upload_id: str) -> bool:
        """Whether a request of this process holds it."""
        return upload_id in self._appending

    async def whole(self, upload_id: str) -> StagedFile:
        """The file of an upload that has all its bytes, whoever holds it; raises `FileNotFoundError`."""
        path = self._root / _file_name(upload_id)
        return await asyncio.to_thread(read_whole, path, self._hashes.get(upload_id))

    async def upload_size(self, upload_id: str) -> int:
        """The size of its file, confirmed or not; 0 when nothing is there."""
        return await asyncio.to_thread(size_of, self._root / _file_name(upload_id))

    async def confirm(self, upload_id: str) -> int:
        """So many bytes of it are on the disk for good, whoever has written them. Raises `Unavailable` or
        `InsufficientStorage` when that cannot be said, now or ever."""
        try:
            return await asyncio.to_thread(confirm, self._root / _file_name(upload_id))
        except OSError as error:
            raise as_refusal(error) from error

    async def is_held(self, upload_id: str) -> bool:
        """Whether a request, of whatever process, is appending to it at this moment."""
        return await asyncio.to_thread(is_locked, self._root / _file_name(upload_id))

    async def idle_uploads(self, grace_seconds: float = LEFTOVER_SECONDS) -> list[str]:
        """The uploads of which something is there that nobody holds or has written to for so long."""
        return await asyncio.to_thread(idle_uploads, self._root, grace_seconds)

    @asynccontextmanager
    async def lend(self, staged: StagedFile) -> AsyncIterator[StagedFile]:
        """The same bytes under a second name, for somebody to take; gone when the block is left.

        Costs nothing where the file system has hard links, else a copy. Raises `FileNotFoundError` when they
        are gone.
        """
        lent = self._root / f"{uuid4().hex}.part"
        try:
            try:
                await asyncio.to_thread(self._link_or_copy, staged, lent)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise as_refusal(error) from error
            yield replace(staged, path=lent)
        finally:
            await asyncio.to_thread(lent.unlink, missing_ok=True)

    def _link_or_copy(self, staged: StagedFile, target: Path) -> None:
        try:
            os.link(staged.path, target)
        except OSError as error:
            if error.errno not in disk.NO_LINKS:
                raise
            self._admit(staged.size, self._free_bytes())
            shutil.copyfile(staged.path, target)
            disk.set_mode(target, self._keeping.file_mode)
            with target.open("rb") as file:
                disk.fsync(file.fileno())

    async def remove_upload(self, upload_id: str) -> None:
        """Interrupts whoever appends to it and removes what is there, if anything."""
        await self.interrupt(upload_id)
        await self.forget(upload_id)

    async def forget(self, upload_id: str) -> None:
        """Removes what is there; whoever still writes to it, writes to nothing that anybody will see."""
        self._hashes.pop(upload_id, None)
        path = self._root / _file_name(upload_id)
        await asyncio.to_thread(path.unlink, missing_ok=True)

    async def sweep(self, grace_seconds: float = LEFTOVER_SECONDS) -> int:
        """Removes what `receive` left behind in processes that were killed, once nothing was written to it
        for so long; says how many files. What a living process holds is left alone, whatever its age.
        """
        return await asyncio.to_thread(sweep, self._root, grace_seconds)

    @asynccontextmanager
    async def _writer(
        self, name: str, limit: int, declared_size: int | None, also: _Hash | None
    ) -> AsyncIterator[tuple[DiskFile, StagedWriter]]:
        thread = min(self._threads, key=self._files_of.__getitem__)
        file = DiskFile(self._root / name, self._keeping, also=also)
        writer = StagedWriter(file, thread, limit=limit, declared_size=declared_size or 0)
        self._files_of[thread] += 1
        try:
            yield file, writer
        finally:
            self._writers.discard(writer)
            self._files_of[thread] -= 1

    async def _open(
        self, writer: StagedWriter, opening: Callable[[], None], declared_size: int | None
    ) -> None:
        """In one turn of the thread, with a look at the room that there is."""

        def open_and_look() -> int:
            opening()
            return self._free_bytes()

        free = await writer.run(open_and_look)
        # Of an unknown length there will be a byte at least.
        self._admit(1 if declared_size is None else declared_size, free)
        self._writers.add(writer)

    def _remember(self, upload_id: str, file: DiskFile) -> None:
        """A hash cannot be stored, so the next request goes on with this one if it comes to this process."""
        if file.known is None:
            return
        self._hashes[upload_id] = file.known
        self._hashes.move_to_end(upload_id)
        if len(self._hashes) > HASHES_KEPT:
            self._hashes.popitem(last=False)


def _file_name(upload_id: str) -> str:
    if not _UPLOAD_ID.fullmatch(upload_id):
        raise UploadNotFound
    return f"{upload_id}.upload"
