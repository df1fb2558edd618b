"""`mosic download`: save the audio of clips to files, each complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import typer

from mosic.audio.types import ending_for, media_type_for
from mosic.cli.calling import DONE, SOME_FAILED
from mosic.cli.display import Lines, open_display
from mosic.cli.table import as_json
from mosic.cli.target import WrongCommand
from mosic.client.clips import Clip, Clips
from mosic.client.failures import Failed, NotFound, ServiceFailed
from mosic.client.gather import Found
from mosic.client.saving import Saver, with_retries
from mosic.client.sending import Outcome, Result
from mosic.wire.disposition import name_to_save

# With an id and the suffix of a partial file it is still a valid file name.
_LONGEST_NAME = 200


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
            clip = await with_retries(
                clips, options.retries, lines.begin(unnamed), partial(clips.get, clip_id)
            )
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
                saver = Saver(clips, one.clip, one.path, watcher, replace=options.force)
                outcome = Outcome(await with_retries(clips, options.retries, watcher, saver.save))
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
