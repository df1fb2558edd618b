"""An upload area in memory: the second one that the contract is tested with, and as short as that allows."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from mosic.errors import InsufficientStorage, OffsetMismatch, TooLarge, UploadLocked, UploadNotFound
from mosic.staging import LEFTOVER_SECONDS, Chunk, Incoming, Position, StagedFile


class MemoryWriter:
    def __init__(self, content: bytearray, incoming: Incoming, folder: Path) -> None:
        self._content, self._incoming, self._folder = content, incoming, folder
        self._start = len(content)
        self._checked = incoming.checksum.hasher() if incoming.checksum else None
        self.shown: Path | None = None

    @property
    def size(self) -> int:
        return len(self._content)

    async def write(self, chunk: Chunk | memoryview) -> None:
        if self.size + len(chunk) > self._incoming.limit:
            raise TooLarge
        self._content += chunk
        if self._checked is not None:
            self._checked.update(chunk)

    def flush(self) -> None:
        pass

    async def sync(self) -> int:
        if self._incoming.checksum is not None and self._checked is not None:
            self._incoming.checksum.verify(self._checked)
        return self.size

    async def salvage(self) -> int:
        return self.size

    def acknowledge(self) -> None:
        pass

    async def finish(self) -> StagedFile:
        await self.sync()
        staged = as_file(self._content, self._folder)
        self.shown = staged.path
        return staged

    def close(self, *, keep: bool) -> None:
        if self.shown is not None:
            self.shown.unlink(missing_ok=True)
        elif not keep:
            del self._content[self._start :]


class _Held(NamedTuple):
    content: bytearray
    timeout: asyncio.Timeout
    released: asyncio.Event


class MemoryArea:
    """Has room for as many bytes as it is told, and puts files into the folder when it has to show one."""

    def __init__(self, folder: Path, room: int = 2**40) -> None:
        self._folder, self._room = folder, room
        self._kept: dict[str, bytearray] = {}
        self._held: dict[str, _Held] = {}

    async def close(self) -> None:
        pass

    async def check(self) -> None:
        pass

    async def free_bytes(self) -> int:
        return self._room - sum(map(len, self._kept.values()))

    async def admit(self, size: int) -> None:
        if size > await self.free_bytes():
            raise InsufficientStorage

    @asynccontextmanager
    async def create(self, incoming: Incoming) -> AsyncIterator[MemoryWriter]:
        if (incoming.declared_size or 0) > incoming.limit:
            raise TooLarge
        await self.admit(incoming.declared_size or 0)
        writer = MemoryWriter(bytearray(), incoming, self._folder)
        try:
            yield writer
        finally:
            writer.close(keep=False)

    @asynccontextmanager
    async def append(self, position: Position, incoming: Incoming) -> AsyncIterator[MemoryWriter]:
        name, offset = checked(position.name), position.offset
        if self.is_held_here(name):
            raise UploadLocked
        size = await self.size(name)
        if size < offset or (size > offset and not position.cut):
            raise OffsetMismatch(extra={"offset": size})
        await self.admit(incoming.declared_size or 0)
        content = self._kept.setdefault(name, bytearray())
        del content[offset:]
        writer = MemoryWriter(content, incoming, self._folder)
        held = self._held[name] = _Held(content, asyncio.timeout(None), asyncio.Event())
        keep = incoming.checksum is None
        try:
            async with held.timeout:
                yield writer
                await writer.sync()
                keep = True
        except TimeoutError:
            if held.timeout.expired():
                raise UploadLocked from None
            raise
        finally:
            writer.close(keep=keep)
            if self._held.get(name) is held:
                del self._held[name]
            held.released.set()

    async def copy(self, source: str, offset: int, name: str) -> None:
        size = await self.size(source)
        if size < offset:
            raise OffsetMismatch(extra={"offset": size})
        self._kept[checked(name)] = self._kept.get(source, bytearray())[:offset]

    @asynccontextmanager
    async def finish(self, name: str) -> AsyncIterator[StagedFile]:
        if name not in self._kept:
            raise FileNotFoundError
        staged = as_file(self._kept[name], self._folder)
        try:
            yield staged
        finally:
            staged.path.unlink(missing_ok=True)

    async def discard(self, name: str) -> None:
        self._kept.pop(checked(name), None)

    async def size(self, name: str) -> int:
        return len(self._kept.get(checked(name), b""))

    async def confirm(self, name: str) -> int:
        return await self.size(name)

    async def is_held(self, name: str) -> bool:
        return self.is_held_here(name)

    def is_held_here(self, name: str) -> bool:
        return name in self._held and self._held[name].content is self._kept.get(name)

    async def interrupt(self, name: str, *, seconds: float | None = None) -> None:
        if name in self._held:
            held = self._held[name]
            with suppress(RuntimeError):
                held.timeout.reschedule(0)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await held.released.wait()

    async def idle(self, grace_seconds: float = LEFTOVER_SECONDS) -> list[str]:
        return [] if grace_seconds else [name for name in self._kept if not self.is_held_here(name)]

    async def sweep(self, grace_seconds: float = LEFTOVER_SECONDS) -> int:
        return 0


def checked(name: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z-]{1,64}", name):
        raise UploadNotFound
    return name


def as_file(content: bytearray, folder: Path) -> StagedFile:
    path = folder / uuid4().hex
    path.write_bytes(content)
    return StagedFile(path, len(content), hashlib.sha256(content).hexdigest())
