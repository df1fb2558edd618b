"""The key that an app has given a clip: of two clips only one has it."""

from __future__ import annotations

from mosic.core.runtime import Runtime
from mosic.db.clips import Clip
from mosic.db.ownids import find_own
from mosic.errors import ExternalIdTaken


async def check_own_id(
    rt: Runtime, external_id: str | None, *, sha256: bytes | None = None, size: int | None = None
) -> None:
    """Refuse bytes for which the key is taken, as far as that is known: those with this digest, or of this
    size; None where it is not known yet. Raises `ExternalIdTaken`."""
    if external_id is None:
        return
    other = await holder_of(rt, external_id)
    if other is None:
        return
    known = ((sha256, other.sha256), (size, other.size))
    if other.sha256 is None or any(said is not None and said != has for said, has in known):
        raise taken(external_id, other)


async def holder_of(rt: Runtime, external_id: str) -> Clip | None:
    """The clip that has the key, also one in the trash."""
    async with rt.begin() as connection:
        return await find_own(connection, external_id)


def taken(external_id: str, other: Clip | None) -> ExternalIdTaken:
    """The refusal; `other` is None when the clip that had the key is gone by now."""
    if other is None:
        return ExternalIdTaken("Another clip had this external_id until now. Repeat the request.")
    state = "is in the trash and" if other.deleted_at else "already"
    return ExternalIdTaken(
        f"The clip {other.id} {state} has the external_id {external_id!r}.", extra={"clip_id": str(other.id)}
    )
