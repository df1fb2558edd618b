"""Quotas of unfinished uploads: how many there may be, and how many bytes they may declare.

docs/decisions/0018-room-on-the-disk.md has the reasons.
"""

from __future__ import annotations

from mosic.core.runtime import Runtime
from mosic.db.uploads import Unfinished
from mosic.errors import TooManyUploads, TooMuchPromised
from mosic.settings.limits import MEBIBYTE


def admit_upload(rt: Runtime, found: Unfinished, length: int | None, *, free: int) -> None:
    """Let a key begin an upload of so many bytes (None: not known yet), or raise `TooManyUploads` or what
    `admit_length` raises.

    `found` comes from the transaction that makes the row of the upload, so that only one of several can have
    the last place. `free` is the room of the upload area.
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
    admit_length(rt, found, length or 0, free=free)


def admit_length(rt: Runtime, found: Unfinished, length: int, *, free: int) -> None:
    """Let so many more bytes be declared, or raise `TooMuchPromised`; in the transaction that notes them."""
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
    if found.missing + length > free:
        raise TooMuchPromised(
            f"The unfinished uploads of this service still need {found.missing} bytes; there is no space for "
            f"{length} more."
        )
