"""The work `chapters`: chapters and lyrics of files that were uploaded before an upload read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from mosic.audio.info import AudioInfo
from mosic.core.runtime import Runtime
from mosic.core.works.files import file_of
from mosic.core.works.kinds import WorkFailed
from mosic.db import carried
from mosic.db.clips import Clip
from mosic.errors import UnreadableMedia, UnsupportedMedia


class ChapterWorks:
    """Reads the file once more, as an upload does."""

    kinds: Sequence[str] = ("chapters",)
    version = 1

    async def learn(self, rt: Runtime, clip: Clip) -> Carries:
        """Raises `WorkFailed` for a file that cannot be read any more."""
        async with file_of(rt, clip) as path:
            try:
                return Carries(clip.id, await rt.probes.probe(path))
            except (UnsupportedMedia, UnreadableMedia) as error:
                raise WorkFailed(error.code, error.detail) from None


class Carries:
    """What was read."""

    def __init__(self, clip_id: UUID, info: AudioInfo) -> None:
        self._clip_id = clip_id
        self._info = info

    async def write(self, connection: Any) -> Sequence[str]:
        await carried.learn(connection, self._clip_id, self._info.chapters, self._info.lyrics)
        return ()

    async def drop(self, rt: Runtime) -> None:
        """Nothing is in the store."""
