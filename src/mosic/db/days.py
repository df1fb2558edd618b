"""Plays of each day (UTC, by the database's clock), and the clips that were played most over some days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Day:
    """One day of a clip."""

    date: date
    plays: int


# The last day with plays is in `clip_plays`, the earlier ones are in `clip_days`.
_DAILY = sa.text("""
    WITH today AS (SELECT (now() AT TIME ZONE 'UTC')::date AS last), counted AS (
        SELECT day, plays FROM clip_days, today WHERE clip_id = :clip_id AND day > last - :days
        UNION ALL SELECT day, day_plays FROM clip_plays WHERE clip_id = :clip_id AND day_plays > 0
    )
    SELECT last - ago AS date, coalesce(sum(plays), 0)::bigint AS plays
      FROM today CROSS JOIN generate_series(0, :days - 1) AS ago LEFT JOIN counted ON day = last - ago
     GROUP BY date ORDER BY date
""").bindparams(sa.bindparam("clip_id", type_=sa.Uuid), sa.bindparam("days", type_=sa.Integer))
# The clips in the trash are few, and have an index of their own.
_TOP = sa.text("""
    WITH since AS (SELECT (now() AT TIME ZONE 'UTC')::date - :days AS before), counted AS (
        SELECT clip_id, plays FROM clip_days WHERE day > (SELECT before FROM since)
        UNION ALL
        SELECT clip_id, day_plays FROM clip_plays WHERE day > (SELECT before FROM since) AND day_plays > 0
    ), summed AS (
        SELECT clip_id, sum(plays) AS plays FROM counted GROUP BY clip_id
    )
    SELECT clip_id, plays::bigint FROM summed
     WHERE NOT EXISTS (SELECT FROM clips WHERE deleted_at IS NOT NULL AND id = clip_id)
     ORDER BY plays DESC, clip_id DESC LIMIT :limit
""").bindparams(sa.bindparam("days", type_=sa.Integer), sa.bindparam("limit", type_=sa.Integer))
_PRUNE = sa.text("""
    DELETE FROM clip_days WHERE (clip_id, day) IN (
        SELECT clip_id, day FROM clip_days WHERE day <= (now() AT TIME ZONE 'UTC')::date - :kept
         ORDER BY day LIMIT :limit FOR UPDATE SKIP LOCKED
    )
""").bindparams(sa.bindparam("kept", type_=sa.Integer), sa.bindparam("limit", type_=sa.Integer))


async def daily(connection: AsyncConnection, clip_id: UUID, days: int) -> list[Day]:
    """The last `days` days, today last; those without plays too."""
    rows = await connection.execute(_DAILY, {"clip_id": clip_id, "days": days})
    return [Day(row.date, row.plays) for row in rows]


async def most_played(connection: AsyncConnection, *, days: int, limit: int) -> list[tuple[UUID, int]]:
    """Ids and plays of the clips with most plays in the last `days` days, today included; of two with as many
    the newer comes first. Clips in the trash are left out, and those without plays.

    Reads all days that are asked for: a tenth of a second for some hundred thousand rows.
    """
    rows = await connection.execute(_TOP, {"days": days, "limit": limit})
    return [(row.clip_id, row.plays) for row in rows]


async def prune(connection: AsyncConnection, *, kept: int, limit: int) -> int:
    """Remove up to `limit` days of clips that are not among the last `kept` days; says how many."""
    return (await connection.execute(_PRUNE, {"kept": kept, "limit": limit})).rowcount
