"""Saves the audio of a clip to a file, through lost connections and restarts of either side."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from mosic.client.clips import Clip, Clips
from mosic.client.failures import Failed, Redirected, TryAgain
from mosic.client.partial import PartialFile
from mosic.client.retrying import Retries
from mosic.client.sending import Result, Watcher
from mosic.wire.ranges import IntRange, parse_content_range

_T = TypeVar("_T")


async def with_retries(
    clips: Clips, count: int, watcher: Watcher, attempt: Callable[[], Awaitable[_T]]
) -> _T:
    """Repeat the attempt until it succeeds; up to `count` in a row may transfer nothing.

    Raises `Failed`, `ServiceFailed` and `NotFound`.
    """
    retries = Retries(clips, count)
    while True:
        before = clips.activity
        retries.begin()
        try:
            return await attempt()
        except TryAgain as failure:
            # The response itself counts as one.
            wait = retries.after(failure, progressed=clips.activity > before + 1)
            watcher.waiting(wait)
            await asyncio.sleep(wait.seconds)


class Saver:
    """Saves the audio of one clip to a file; `replace` allows it to overwrite another."""

    def __init__(self, clips: Clips, clip: Clip, path: Path, watcher: Watcher, *, replace: bool) -> None:
        self._clips, self._clip, self._path = clips, clip, path
        self._watcher = watcher
        self._replace = replace
        self._sha256: str | None = clip.get("sha256")
        self._size: int | None = clip.get("size")

    async def save(self) -> Result:
        """One attempt, which continues an earlier one. Raises `Failed`, and what `Service.request` raises."""
        if await asyncio.to_thread(self._is_there):
            return Result.PRESENT
        # Other bytes have another partial file.
        key = self._sha256 or UUID(self._clip["id"]).hex[::-1]
        with PartialFile(self._path.with_name(f"{self._path.name}.{key[:8]}.part")) as part:
            if self._sha256 is None or (self._size is not None and part.size() > self._size):
                part.cut()
            if self._size is None or part.size() < self._size:
                await self._fetch(part)
            self._watcher.finishing()
            await asyncio.to_thread(self._check, part)
            await asyncio.to_thread(part.publish, self._path, replace=self._replace)
        return Result.SAVED

    def _is_there(self) -> bool:
        """Raises `Failed` when the path has other content that must not be overwritten."""
        if not os.path.lexists(self._path):
            return False
        if self._path.is_file() and self._sha256 is not None:
            with suppress(OSError), open(self._path, "rb") as file:
                if (
                    os.fstat(file.fileno()).st_size == self._size
                    and hashlib.file_digest(file, "sha256").hexdigest() == self._sha256
                ):
                    return True
        if not self._replace or self._path.is_dir():
            raise Failed("the file exists with other content; --force overwrites it")
        return False

    async def _fetch(self, part: PartialFile) -> None:
        offset = part.size()
        headers = {"Range": str(IntRange(offset, None)), "If-Range": f'"{self._sha256}"'} if offset else {}
        try:
            path = f"play/{self._clip['id']}/stream"
            async with self._clips.open("GET", path, headers=headers) as response:
                content_range = parse_content_range(response.headers.get("Content-Range", ""))
                part_sent = content_range.part if content_range is not None else None
                if part_sent is None or part_sent.start != offset:
                    part.cut()
                    offset = 0
                self._watcher.resumed(offset)
                async for block in response:
                    part.write(block)
                    offset += len(block)
                    self._watcher.sending(offset)
        except Redirected:
            raise Failed(f"its audio is external: {self._clip.get('audio_url')}") from None

    def _check(self, part: PartialFile) -> None:
        if self._sha256 is not None and part.sha256() != self._sha256:
            # No later call must continue it.
            part.remove()
            raise Failed("the bytes received do not match the digest of the service; repeat the command")
