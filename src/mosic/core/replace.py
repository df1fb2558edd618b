"""Other bytes for a clip that is there: its id, its plays and the words about it stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from mosic.audio.info import AudioInfo
from mosic.core.bytes import put_back
from mosic.core.changing import delete_blobs, get_for_change, keep_one, withdraw
from mosic.core.ingest import Hints, to_the_end
from mosic.core.runtime import Runtime
from mosic.db import adding, carried, clips, works
from mosic.db.blobs import BlobSwept
from mosic.db.clips import Clip
from mosic.errors import BytesTaken, Unavailable
from mosic.staging import StagedFile
from mosic.wire.conditions import Preconditions

# Of what a probe finds. The rest are words, which stay.
_OF_FILE = ("duration", "tags", "media_type", "codec", "bitrate", "sample_rate", "channels")


async def check_replaceable(rt: Runtime, clip_id: UUID, conditions: Preconditions | None) -> Clip:
    """The clip, when it may be given other bytes as things stand: to refuse a request before its body.

    Raises `ClipNotFound` and `PreconditionFailed`.
    """
    async with rt.begin() as connection:
        return await get_for_change(connection, clip_id, "PUT", conditions)


async def replace_audio(
    rt: Runtime,
    clip_id: UUID,
    staged: StagedFile,
    hints: Hints,
    conditions: Preconditions | None,
    sender: str = "",
) -> Clip:
    """Give the clip the bytes of the staged file, at one moment: listeners get the old or the new ones.

    What the file says of itself (duration, tags, …) comes with it; of the `hints` only the file name counts.
    An external clip becomes one whose audio is here; a clip that has these bytes gets them back where the
    store has lost them. Raises `ClipNotFound` and `PreconditionFailed`, as an edit does, `BytesTaken` when
    another clip has these bytes, and what `ingest` raises: then the clip is as it was. `sender` as for
    `ingest`.
    """
    clip = await check_replaceable(rt, clip_id, conditions)
    sha256 = bytes.fromhex(staged.sha256)
    if clip.sha256 == sha256:
        await to_the_end(put_back(rt, clip, staged))
        return clip
    if (other := await _holder(rt, sha256)) is not None:
        # The response says that these bytes are there, so they have to be.
        await to_the_end(put_back(rt, other, staged))
        raise _taken(other)
    info = await rt.probes.probe(staged.path, sender)
    changes = {
        **{name: getattr(info, name) for name in _OF_FILE},
        **carried.flags(info.chapters, info.lyrics),
        "blob_key": rt.clock.uuid7().hex,
        "external_url": None,
        "file_name": hints.file_name or clip.file_name,
        "size": staged.size,
        "sha256": sha256,
    }
    return await to_the_end(_publish(rt, clip_id, staged, info, changes, conditions))


async def _publish(
    rt: Runtime,
    clip_id: UUID,
    staged: StagedFile,
    info: AudioInfo,
    changes: Mapping[str, Any],
    conditions: Preconditions | None,
) -> Clip:
    blob_key: str = changes["blob_key"]
    try:
        await rt.blobs.put(blob_key, staged.path)
        async with rt.begin() as connection:
            before = await get_for_change(connection, clip_id, "PUT", conditions)
            replaced = await clips.replace_bytes(connection, before, changes)
            if replaced is not None:
                await carried.put(connection, clip_id, info.chapters, info.lyrics)
                # What was learnt of the bytes before, or is being learnt, is of no more use.
                await works.repeat(connection, clip_id, rt.works.kinds, those_there=True)
        if replaced is None:
            raise _taken(await _holder(rt, changes["sha256"]))
        clip, released = replaced
        rt.facts.drop(clip_id)
        clip = await keep_one(rt, clip, blob_key)
    except BaseException as error:
        await withdraw(rt, blob_key)
        if isinstance(error, BlobSwept):
            raise Unavailable(
                "No data arrived for so long that the uploaded bytes were removed. Upload the file again."
            ) from None
        raise
    rt.works.made()
    await delete_blobs(rt, *released)
    return clip


async def _holder(rt: Runtime, sha256: bytes) -> Clip | None:
    async with rt.statements() as driver:
        return await adding.find(driver, sha256)


def _taken(other: Clip | None) -> BytesTaken:
    if other is None:
        return BytesTaken("Another clip had these bytes until now. Repeat the request.")
    state = "is in the trash and" if other.deleted_at else "already"
    return BytesTaken(f"The clip {other.id} {state} has these bytes.", extra={"clip_id": str(other.id)})
