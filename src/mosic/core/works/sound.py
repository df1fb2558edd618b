"""The works `waveform` and `loudness`: one pass over the audio gives both, and the silence at its ends."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any
from uuid import UUID

from mosic.audio.isolation import TaskPool
from mosic.audio.process import TaskFailed
from mosic.background import Background
from mosic.core.changing import withdraw
from mosic.core.runtime import Runtime
from mosic.core.works.files import file_of
from mosic.core.works.kinds import WorkFailed
from mosic.db import sounds
from mosic.db.clips import Clip
from mosic.db.sounds import NewWaveform, Sounds
from mosic.errors import BlobMissing, UnreadableMedia
from mosic.settings import Settings
from mosic.staging.base import Incoming

TASK = "sound"

# Of processor time: a minute for what is small or of unknown length, and thirty times what an hour takes on
# a usual machine for what is longer.
_SECONDS = 60.0
_SECONDS_OF_A_SECOND = 0.1
# On a machine that has more important things to do a process of the lowest priority gets little of it.
_WAITS = 10


def can_decode() -> bool:
    """Whether the extra `sound` is installed."""
    return all(find_spec(name) is not None for name in ("av", "numpy"))


@asynccontextmanager
async def sound_pool(settings: Settings, background: Background) -> AsyncIterator[TaskPool | None]:
    """The processes that decode; None where the extra is not installed. One file at a time, and the processor
    is for other callers that need it."""
    if not can_decode():
        yield None
        return
    pool = TaskPool(
        (TASK,),
        1,
        settings.sound_seconds_max,
        settings.sound_memory_mb,
        background=background,
        niceness=19,
    )
    pool.start_when_needed()
    try:
        yield pool
    finally:
        await pool.close()


class SoundWorks:
    """Learns both of a clip."""

    kinds: Sequence[str] = ("waveform", "loudness")
    version = 1

    async def learn(self, rt: Runtime, clip: Clip) -> Measured:
        """Raises `WorkFailed` for a file that cannot be decoded, or not in the time that it may take."""
        assert rt.sounds is not None
        seconds = min(_SECONDS + _SECONDS_OF_A_SECOND * (clip.duration or 0), rt.settings.sound_seconds_max)
        arguments = {"media_type": clip.media_type, "seconds": seconds}
        async with file_of(rt, clip) as path:
            try:
                found = await rt.sounds.run(TASK, path, arguments, seconds=seconds * _WAITS)
            except TaskFailed as error:
                if error.code == "unreadable":
                    raise BlobMissing from None
                if error.code == "crash":
                    # Perhaps it was killed, as the memory was short: tried again a few times.
                    raise UnreadableMedia("The process that decoded this file ended.") from None
                raise WorkFailed(
                    "too-long" if error.code == "timeout" else error.code, error.detail
                ) from None
        return Measured(clip.id, Sounds(**found.value), await _publish(rt, found.data))


class Measured:
    """What a clip sounds like, with its waveform in the store."""

    def __init__(self, clip_id: UUID, sounds: Sounds, waveform: NewWaveform) -> None:
        self._clip_id = clip_id
        self._sounds = sounds
        self._waveform = waveform

    async def write(self, connection: Any) -> Sequence[str]:
        return await sounds.write(connection, self._clip_id, self._sounds, self._waveform)

    async def drop(self, rt: Runtime) -> None:
        await withdraw(rt, self._waveform.key)


async def _publish(rt: Runtime, data: bytes) -> NewWaveform:
    key = rt.clock.uuid7().hex
    async with rt.staging.create(Incoming(limit=len(data), declared_size=len(data))) as staged:
        await staged.write(data)
        file = await staged.finish()
        await rt.blobs.put(key, file.path)
    return NewWaveform(key, hashlib.sha256(data).digest(), len(data))
