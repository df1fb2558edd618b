"""The upload area on a local disk: one file for each upload, in a folder beside the published ones."""

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
from typing import NamedTuple
from uuid import uuid4

from mosic import disk
from mosic.disk import Keeping, as_refusal
from mosic.errors import InsufficientStorage, StartupError, TooLarge, UploadLocked, UploadNotFound
from mosic.staging.base import LEFTOVER_SECONDS, Incoming, Position, StagedFile
from mosic.staging.diskfile import DiskFile, KnownHash
from mosic.staging.leftovers import cut_at_marks, idle_uploads, sweep
from mosic.staging.looking import confirm, is_locked, read_whole, size_of
from mosic.staging.writer import FileWriter

HASHES_KEPT = 1024
_NAME = re.compile(r"[0-9A-Za-z-]{1,64}")


class _Held(NamedTuple):
    """An upload that a request of this process is writing to."""

    writer: FileWriter
    timeout: asyncio.Timeout
    released: asyncio.Event


class LocalUploadArea:
    """An `UploadArea`: a folder on the file system that blobs are published to, so publishing is a rename.

    Only the constructor blocks the event loop. Several processes may share the folder, each with an area of
    its own. A file is locked while a writer has it: what `is_held` sees is that lock.
    """

    def __init__(self, root: Path, keeping: Keeping | None = None, *, threads: int = 4) -> None:
        """Makes the folder; raises `StartupError` when nothing can be written there."""
        self._keeping = keeping or Keeping()
        try:
            disk.check_for_start(root, self._keeping.folder_mode)
            cut_at_marks(root)
        except OSError as error:
            raise StartupError(f"MOSIC_MEDIA_ROOT: cannot write to {root}: {error.strerror}") from None
        self._root = root
        self._threads = [ThreadPoolExecutor(1, thread_name_prefix="staging") for _ in range(threads)]
        self._files_of = Counter[ThreadPoolExecutor]()
        self._writers: set[FileWriter] = set()
        self._held: dict[str, _Held] = {}
        self._hashes: OrderedDict[str, KnownHash] = OrderedDict()

    async def close(self) -> None:
        for thread in self._threads:
            await asyncio.to_thread(thread.shutdown)

    async def check(self) -> None:
        """A folder that was removed is made again."""
        try:
            await asyncio.to_thread(disk.check_writable, self._root, self._keeping.folder_mode)
        except OSError as error:
            raise as_refusal(error) from error

    async def free_bytes(self) -> int:
        """What the disk has, without what it keeps for root, less the reserve."""
        try:
            return await asyncio.to_thread(self._free_bytes)
        except OSError as error:
            raise as_refusal(error) from error

    def _free_bytes(self) -> int:
        return disk.free_bytes(self._root) - self._keeping.reserve

    async def admit(self, size: int) -> None:
        self._admit(size, await self.free_bytes())

    def _admit(self, size: int, free: int) -> None:
        if size > free - sum(writer.unwritten for writer in self._writers):
            raise InsufficientStorage(f"There is not enough disk space for {size} bytes.")

    @asynccontextmanager
    async def create(self, incoming: Incoming) -> AsyncIterator[FileWriter]:
        if incoming.declared_size is not None and incoming.declared_size > incoming.limit:
            raise TooLarge(f"An upload may have at most {incoming.limit} bytes.")
        async with self._writer(f"{uuid4().hex}.part", incoming) as (file, writer):
            try:
                await self._open(writer, file.create, incoming.declared_size)
                yield writer
            finally:
                await writer.run(file.discard)

    @asynccontextmanager
    async def append(self, position: Position, incoming: Incoming) -> AsyncIterator[FileWriter]:
        name = position.name
        async with self._writer(_file_name(name), incoming) as (file, writer):
            keep = incoming.checksum is None
            held = _Held(writer, asyncio.timeout(None), asyncio.Event())
            try:
                async with held.timeout:
                    known = self._hashes.get(name)
                    resume = partial(file.resume, position.offset, known, cut=position.cut)
                    await self._open(writer, resume, incoming.declared_size)
                    self._held[name] = held
                    yield writer
                    await writer.sync()
                    keep = True
            except TimeoutError:
                if held.timeout.expired():
                    raise UploadLocked("A newer request has taken over this upload.") from None
                raise
            finally:
                try:
                    if keep:
                        writer.flush()
                    await writer.run(partial(file.release, keep=keep))
                    self._remember(name, file)
                finally:
                    if self._held.get(name) is held:
                        del self._held[name]
                    held.released.set()

    async def copy(self, source: str, offset: int, name: str) -> None:
        everything = Incoming(limit=offset, declared_size=offset)
        async with self._writer(_file_name(name), everything) as (file, writer):
            try:
                await writer.run(partial(file.copy, self._path(source), offset))
            except BaseException:
                await writer.run(file.discard)
                raise
            await writer.run(partial(file.release, keep=True))
            self._remember(name, file)

    async def interrupt(self, name: str, *, seconds: float | None = None) -> None:
        held = self._held.get(name)
        if held is not None:
            with suppress(RuntimeError):  # it is leaving already
                held.timeout.reschedule(0)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await held.released.wait()

    def is_held_here(self, name: str) -> bool:
        return name in self._held

    async def is_held(self, name: str) -> bool:
        return await asyncio.to_thread(is_locked, self._path(name))

    async def size(self, name: str) -> int:
        return await asyncio.to_thread(size_of, self._path(name))

    async def confirm(self, name: str) -> int:
        try:
            return await asyncio.to_thread(confirm, self._path(name))
        except OSError as error:
            raise as_refusal(error) from error

    @asynccontextmanager
    async def finish(self, name: str) -> AsyncIterator[StagedFile]:
        """Under a second name: a hard link, or where the file system has none a copy."""
        second = self._root / f"{uuid4().hex}.part"
        try:
            yield await self._give_second_name(name, second)
        finally:
            await asyncio.to_thread(second.unlink, missing_ok=True)

    async def _give_second_name(self, name: str, second: Path) -> StagedFile:
        held, path = self._held.get(name), self._path(name)
        try:
            if held is not None:
                staged = await held.writer.finish()
            else:
                staged = await asyncio.to_thread(read_whole, path, self._hashes.get(name))
            await asyncio.to_thread(self._link_or_copy, staged, second)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise as_refusal(error) from error
        return replace(staged, path=second)

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

    async def discard(self, name: str) -> None:
        path = self._path(name)
        self._hashes.pop(name, None)
        await asyncio.to_thread(path.unlink, missing_ok=True)

    async def idle(self, grace_seconds: float = LEFTOVER_SECONDS) -> list[str]:
        return await asyncio.to_thread(idle_uploads, self._root, grace_seconds)

    async def sweep(self, grace_seconds: float = LEFTOVER_SECONDS) -> int:
        return await asyncio.to_thread(sweep, self._root, grace_seconds)

    @asynccontextmanager
    async def _writer(self, file_name: str, incoming: Incoming) -> AsyncIterator[tuple[DiskFile, FileWriter]]:
        thread = min(self._threads, key=self._files_of.__getitem__)
        file = DiskFile(self._root / file_name, self._keeping, checksum=incoming.checksum)
        writer = FileWriter(file, thread, limit=incoming.limit, declared_size=incoming.declared_size or 0)
        self._files_of[thread] += 1
        try:
            yield file, writer
        finally:
            self._writers.discard(writer)
            self._files_of[thread] -= 1

    async def _open(self, writer: FileWriter, opening: Callable[[], None], declared_size: int | None) -> None:
        """In one turn of the thread, with a look at the room that there is."""

        def open_and_look() -> int:
            opening()
            return self._free_bytes()

        free = await writer.run(open_and_look)
        # Of an unknown length there will be a byte at least.
        self._admit(1 if declared_size is None else declared_size, free)
        self._writers.add(writer)

    def _remember(self, name: str, file: DiskFile) -> None:
        """A hash cannot be stored, so the next request goes on with this one if it comes to this process."""
        if file.known is None:
            return
        self._hashes[name] = file.known
        self._hashes.move_to_end(name)
        if len(self._hashes) > HASHES_KEPT:
            self._hashes.popitem(last=False)

    def _path(self, name: str) -> Path:
        return self._root / _file_name(name)


def _file_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UploadNotFound
    return f"{name}.upload"
