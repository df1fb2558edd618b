"""What uploads that are not finished may promise: how many there are, and how many bytes they declare.

docs/decisions/0018-room-on-the-disk.md has the reasons.
"""

from __future__ import annotations

from mosic.core.runtime import Runtime
from mosic.db.uploads import Unfinished
from mosic.errors import TooManyUploads, TooMuchPromised
from mosic.settings.limits import MEBIBYTE


async def room_for_promises(rt: Runtime) -> int:
    """Bytes that all unfinished uploads together may still bring. Raises `Unavailable`."""
    return await rt.staging.free_bytes()


def admit_upload(rt: Runtime, found: Unfinished, length: int | None, *, room: int) -> None:
    """Whether a key may begin an upload of so many bytes (None: not known yet) beside what was `found` in the
    transaction that makes its row. Of several that race for the last place one gets it.

    Raises `TooManyUploads`, and as `admit_length`.
    """
    limits = rt.settings
    if found.count >= limits.unfinished_uploads_max:
        raise TooManyUploads(
            f"This service has {found.count} unfinished uploads, as many as are allowed. Try again later."
        )
    if found.count_of_key >= limits.unfinished_uploads_per_key:
        raise TooManyUploads(
            f"This key has {found.count_of_key} unfinished uploads: finish some, or end them with DELETE."
        )
    admit_length(rt, found, length or 0, room=room)


def admit_length(rt: Runtime, found: Unfinished, length: int, *, room: int) -> None:
    """Whether so many bytes more may be declared, in the transaction that notes it. Raises
    `TooMuchPromised`."""
    limits = rt.settings
    for most, declared, whose in (
        (limits.unfinished_mb_per_key, found.declared_of_key, "of this key"),
        (limits.unfinished_mb_max, found.declared, "of this service"),
    ):
        if most is not None and declared + length > most * MEBIBYTE:
            raise TooMuchPromised(
                f"The unfinished uploads {whose} have declared {declared} bytes; with {length} more they "
                f"would exceed {most} MiB."
            )
    if found.missing + length > room:
        raise TooMuchPromised(
            f"The unfinished uploads of this service still need {found.missing} bytes; there is no space for "
            f"{length} more."
        )
