"""Whether the store still has the bytes of a clip, and putting them back when somebody sends them again."""

from __future__ import annotations

import structlog

from mosic.core.runtime import Runtime
from mosic.db.clips import Clip
from mosic.errors import BlobDamaged, Unavailable
from mosic.staging import StagedFile

_log = structlog.get_logger("mosic.bytes")


async def has_bytes(rt: Runtime, clip: Clip) -> bool:
    """Whether the store has a blob of the right size for a clip that has its bytes here.

    Raises `BlobDamaged` for one of another size, and `Unavailable`.
    """
    assert clip.blob_key is not None
    stat = await rt.blobs.stat(clip.blob_key)
    if stat is None:
        return False
    if stat.size != clip.size:
        rt.metrics.blobs.unusable("damaged")
        _log.error(
            "a blob does not have the size in the catalogue",
            clip_id=str(clip.id),
            blob_key=clip.blob_key,
            size=stat.size,
            expected=clip.size,
        )
        raise BlobDamaged(f"The stored file of clip {clip.id} is shorter or longer than the catalogue says.")
    return True


async def put_back(rt: Runtime, clip: Clip, staged: StagedFile) -> None:
    """Give the clip the staged bytes, which are its own, where the store has lost them. Several may do this
    at once. Raises like `has_bytes`, and `InsufficientStorage`."""
    if await has_bytes(rt, clip):
        return
    assert clip.blob_key is not None
    try:
        await rt.blobs.put(clip.blob_key, staged.path)
    except FileExistsError:
        if not await has_bytes(rt, clip):
            raise Unavailable("The stored file of this clip appears and disappears. Try again.") from None
        return
    rt.metrics.blobs.unusable("restored")
    _log.warning(
        "a blob that the store had lost was uploaded again", clip_id=str(clip.id), blob_key=clip.blob_key
    )
