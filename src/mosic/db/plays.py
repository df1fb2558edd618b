"""The narrow table of counters: one statement for all plays that arrived together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

# Rows are locked in the order of their ids, so that two workers counting the same clips cannot deadlock.
_ADD = sa.text(
    """
    WITH locked AS (
        SELECT clip_id FROM clip_plays WHERE clip_id = ANY(:ids) ORDER BY clip_id FOR NO KEY UPDATE
    )
    UPDATE clip_plays AS p
       SET play_count = p.play_count + v.plays,
           bytes_streamed = p.bytes_streamed + v.bytes,
           last_played_at = CASE WHEN v.plays > 0 THEN now() ELSE p.last_played_at END
      FROM locked, unnest(:ids, :plays, :bytes) AS v(clip_id, plays, bytes)
     WHERE p.clip_id = locked.clip_id AND p.clip_id = v.clip_id
    """
).bindparams(
    sa.bindparam("ids", type_=ARRAY(sa.Uuid)),
    sa.bindparam("plays", type_=ARRAY(sa.BigInteger)),
    sa.bindparam("bytes", type_=ARRAY(sa.BigInteger)),
)


@dataclass(slots=True)
class Tally:
    """What to add to one clip's counters."""

    plays: int = 0
    bytes: int = 0


async def add(connection: AsyncConnection, tallies: Mapping[UUID, Tally]) -> None:
    """Add to the counters of many clips at once; clips that are gone meanwhile are passed over."""
    ids = list(tallies)
    await connection.execute(
        _ADD,
        {
            "ids": ids,
            "plays": [tallies[clip_id].plays for clip_id in ids],
            "bytes": [tallies[clip_id].bytes for clip_id in ids],
        },
    )
