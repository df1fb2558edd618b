"""`mosic download`: the audio of clips to files, each whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import typer

from mosic.audio.types import ending_for, media_type_for
from mosic.cli.calling import DONE, SOME_FAILED
from mosic.cli.display import Lines, open_display
from mosic.cli.table import as_json
from mosic.cli.target import WrongCommand
from mosic.client.clips import Clip, Clips
from mosic.client.failures import Failed, NotFound, Redirected, ServiceFailed, TryAgain
from mosic.client.gather import Found
from mosic.client.partial import PartialFile
from mosic.client.retrying import Retries
from mosic.client.sending import Outcome, Result, Watcher
from mosic.wire.disposition import name_to_save

# With an id and the suffix of a partial file it is still a valid file name.
_LONGEST_NAME = 200
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Options:
    """As on the command line: `output` is a file, or an existing folder; None: the current folder."""

    output: str | None = None
    force: bool = False
    retries: int = 8
    json: bool = False

    def check(self, count: int) -> None:
        """Raises `WrongCommand` where `output` does not fit so many clips."""
        if self.output is None or os.path.isdir(self.output):
            return
        if self.output.endswith(os.sep):
            raise WrongCommand(f"{self.output}: no such folder")
        if count > 1:
            raise WrongCommand(f"{self.output} is not a folder and cannot hold {count} clips")


@dataclass(frozen=True, slots=True)
class _Wanted:
    clip: Clip
    path: Path

    @property
    def found(self) -> Found:
        return Found(str(self.path), self.clip.get("size") or 0)


class _Failures(Lines):
    """Shows failures only: the rest is JSON, for programs."""

    def end(self, found: Found, outcome: Outcome) -> None:
        if outcome.result is Result.FAILED:
            super().end(found, outcome)


async def download(clips: Clips, ids: Sequence[UUID], options: Options) -> int:
    """Save the audio of each clip; returns the exit status. A failure does not stop the others.

    Raises `WrongCommand`.
    """
    options.check(len(ids))
    failed = False
    wanted: list[_Wanted] = []
    taken: set[Path] = set()
    lines = Lines()
    for clip_id in ids:
        unnamed = Found(str(clip_id), 0)
        try:
            clip = await _persist(clips, options, lines.begin(unnamed), partial(clips.get, clip_id))
        except ServiceFailed:
            raise
        except (Failed, NotFound) as error:
            lines.end(unnamed, Outcome(Result.FAILED, str(error)))
            failed = True
        else:
            path = _path(clip, options.output, taken)
            taken.add(path)
            wanted.append(_Wanted(clip, path))
    with _Failures() if options.json else open_display([one.found for one in wanted]) as display:
        for one in wanted:
            watcher = display.begin(one.found)
            try:
                saving = _Saving(clips, one, watcher, options)
                outcome = Outcome(await _persist(clips, options, watcher, saving))
            except ServiceFailed:
                raise
            except (Failed, NotFound) as error:
                outcome = Outcome(Result.FAILED, str(error))
            failed |= outcome.result is Result.FAILED
            display.end(one.found, outcome)
            if options.json and outcome.result is not Result.FAILED:
                typer.echo(
                    as_json({"id": one.clip["id"], "file": str(one.path), "result": outcome.result.value})
                )
    return SOME_FAILED if failed else DONE


async def _persist(
    clips: Clips, options: Options, watcher: Watcher, attempt: Callable[[], Awaitable[_T]]
) -> _T:
    """Repeat the attempt until it succeeds. One that transfers bytes sets the count of failures back."""
    retries = Retries(clips, options.retries)
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


def _path(clip: Clip, output: str | None, taken: set[Path]) -> Path:
    if output is not None and not os.path.isdir(output):
        return Path(output)
    media_type = clip.get("media_type")
    ending = ending_for(media_type, clip.get("codec")) if media_type else _ending_of(clip)
    stem = name_to_save(clip["title"], _LONGEST_NAME) or str(clip["id"])
    path = Path(output or ".", f"{stem}{ending}")
    # Two clips with one title: a name that is the same in every call.
    return path.with_name(f"{stem} ({clip['id']}){ending}") if path in taken else path


def _ending_of(clip: Clip) -> str:
    """Of an external clip, by its URL."""
    ending = os.path.splitext(urlsplit(str(clip.get("audio_url"))).path)[1].lower()
    return ending if media_type_for(ending) else ""


class _Saving:
    """Attempts to save the audio of one clip."""

    def __init__(self, clips: Clips, wanted: _Wanted, watcher: Watcher, options: Options) -> None:
        self._clips = clips
        self._clip, self._path = wanted.clip, wanted.path
        self._watcher = watcher
        self._force = options.force
        self._sha256: str | None = wanted.clip.get("sha256")
        self._size: int | None = wanted.clip.get("size")

    async def __call__(self) -> Result:
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
            await asyncio.to_thread(part.publish, self._path, replace=self._force)
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
        if not self._force or self._path.is_dir():
            raise Failed("the file exists with other content; --force overwrites it")
        return False

    async def _fetch(self, part: PartialFile) -> None:
        offset = part.size()
        headers = {"Range": f"bytes={offset}-", "If-Range": f'"{self._sha256}"'} if offset else {}
        try:
            path = f"play/{self._clip['id']}/stream"
            async with self._clips.open("GET", path, headers=headers) as response:
                if not re.match(rf"bytes {offset}-", response.headers.get("Content-Range", "")):
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
