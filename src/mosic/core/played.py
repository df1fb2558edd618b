"""How clips were played over the last days."""

from __future__ import annotations

from uuid import UUID

from mosic.core.runtime import Runtime
from mosic.core.top import Played
from mosic.db import clips, days
from mosic.db.clips import Clip
from mosic.db.days import Day
from mosic.errors import ClipNotFound, InvalidRequest

MOST_DAYS = 366
_PRUNED_AT_ONCE = 10_000


async def top(rt: Runtime, *, asked: int, limit: int) -> list[Played]:
    """The clips that were played most in so many days, the most played first; at most `MOST_TOP`. Raises
    `InvalidRequest` for days that are not kept."""
    _check(rt, asked)
    return await rt.top.get(asked, limit)


async def stats(rt: Runtime, clip_id: UUID, asked: int | None) -> tuple[Clip, list[Day] | None]:
    """The clip, and its last days if days are asked for, today last. Raises `ClipNotFound`, and
    `InvalidRequest` for days that are not kept."""
    if asked is not None:
        _check(rt, asked)
    async with rt.begin() as connection:
        clip = await clips.get(connection, clip_id)
        if clip is None:
            raise ClipNotFound
        return clip, None if asked is None else await days.daily(connection, clip_id, asked)


async def forget_old_days(rt: Runtime) -> int:
    """Remove the days that are older than `MOSIC_DAILY_PLAYS_DAYS`, in batches; says how many rows."""
    kept = rt.settings.daily_plays_days
    removed = 0
    while kept:
        async with rt.begin() as connection:
            pruned = await days.prune(connection, kept=kept, limit=_PRUNED_AT_ONCE)
        removed += pruned
        if pruned < _PRUNED_AT_ONCE:
            break
    return removed


def _check(rt: Runtime, asked: int) -> None:
    most = min(rt.settings.daily_plays_days or MOST_DAYS, MOST_DAYS)
    if not 1 <= asked <= most:
        raise InvalidRequest(
            f"days must be 1 to {most}.", errors=[{"loc": ["query", "days"], "msg": f"must be 1 to {most}"}]
        )
