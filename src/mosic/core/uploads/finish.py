"""What becomes of a resumable upload that has all its bytes: a clip, or a refusal that stays.

Nothing is written any more, so no claim is needed: two who do this give the same bytes the same clip, and
the first outcome in the row stays. What was received is kept until then, so a crash anywhere before only
means that it is done again.
"""

from __future__ import annotations

from mosic.core.ingest import Hints, ingest
from mosic.core.runtime import Runtime
from mosic.core.uploads.state import REFUSALS, read
from mosic.db import uploads
from mosic.db.uploads import Upload
from mosic.errors import DigestMismatch, UploadGone
from mosic.staging import StagedFile


async def finish(rt: Runtime, upload: Upload, sender: str) -> tuple[Upload, tuple[str, ...]]:
    """The upload with its outcome, and the words not taken (`UploadState`). Whatever is raised leaves it
    without one: what `ingest` raises other than a refusal, and `UploadGone` when it was ended meanwhile."""
    try:
        async with rt.staging.finish(str(upload.file_id)) as staged:
            return await _settle(rt, upload, staged, sender)
    except FileNotFoundError:
        # Somebody who was slow, but not stuck, has brought about the outcome and removed what was received.
        settled, _ = await read(rt, upload.id)
        if settled.clip_id is None:
            raise
        return settled, ()


async def _settle(
    rt: Runtime, upload: Upload, staged: StagedFile, sender: str
) -> tuple[Upload, tuple[str, ...]]:
    hints = Hints(**upload.hints)
    not_taken: tuple[str, ...] = ()
    try:
        if upload.sha256 is not None and staged.sha256 != upload.sha256.hex():
            raise DigestMismatch(f"The file received has the SHA-256 {staged.sha256}.")
        clip, created = await ingest(rt, staged, hints, sender)
    except REFUSALS as error:
        rt.metrics.uploads.ended(error.code, staged.size)
        async with rt.begin() as connection:
            settled = await uploads.refuse(connection, upload.id, error.code, error.detail)
    else:
        rt.metrics.uploads.ended("created" if created else "duplicate", staged.size)
        async with rt.begin() as connection:
            settled = await uploads.settle(connection, upload.id, clip.id)
        not_taken = () if created else hints.not_taken(clip)
    if settled is None:
        raise UploadGone
    return settled, not_taken
