"""Rows of `works`: what is to be learnt of a clip, who does it, and what became of it.

All times are the database's. A work is `waiting` until it is due and a process takes it, `running` while its
owner puts its lease off, then `done` or `failed`. What an owner writes counts only while the row has its
token. Who changes several rows locks their clips first: docs/decisions/0035-works.md.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.db import clips
from mosic.db.clips import Clip
from mosic.db.tables import works

WORKS_CHANNEL = "mosic_works"
"""Here it is said that there may be works to take."""

FRESH, AGAIN = 0, 1
"""Priorities: of what an upload needs, and of what a whole library needs again. `FRESH` is taken first."""

MAX_DETAIL = 1000
"""Characters of the sentence about a failure."""

_TRIES = 5
# A backup may have come from anywhere.
_MOST_KINDS = 100

State = Literal["waiting", "running", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Work:
    """A row as it was when read."""

    kind: str
    state: State
    attempts: int
    code: str | None
    detail: str | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Taken:
    """Works of one clip that are learnt together; the row of each has this `token`. `attempts` is that of the
    one that was tried most, with this one."""

    clip: Clip
    token: UUID
    kinds: tuple[str, ...]
    attempts: int
    priority: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A work that failed."""

    clip_id: UUID
    title: str
    code: str
    detail: str | None


@dataclass(frozen=True, slots=True)
class Count:
    """How many works of a kind are in a state, and how long the oldest of them has been due (seconds; 0 for
    those that are not waiting)."""

    kind: str
    state: State
    count: int
    oldest_seconds: float


# One statement chooses, and locks the clip; the next one then sees what others had committed by then.
_CHOOSE = sa.text(
    "SELECT works.clip_id, works.kind FROM works JOIN clips ON clips.id = works.clip_id"
    " WHERE works.state = 'waiting' AND works.priority = :priority AND works.due_at <= now()"
    " AND works.kind = ANY(:kinds) AND clips.deleted_at IS NULL AND NOT EXISTS"
    " (SELECT FROM works AS other WHERE other.clip_id = works.clip_id AND other.state = 'running')"
    " ORDER BY works.due_at LIMIT 1 FOR NO KEY UPDATE OF clips SKIP LOCKED"
)
_TAKE = sa.text(
    "UPDATE works SET state = 'running', attempts = attempts + 1, owner = :token,"
    " leased_until = now() + make_interval(secs => :lease), updated_at = now()"
    " WHERE clip_id = :clip_id AND kind = ANY(:kinds) AND state = 'waiting' AND due_at <= now()"
    " AND NOT EXISTS (SELECT FROM works AS other WHERE other.clip_id = :clip_id AND other.state = 'running')"
    " RETURNING kind, attempts"
)
_RENEW = sa.text(
    "UPDATE works SET leased_until = now() + make_interval(secs => :lease) WHERE owner = :token"
    " AND clip_id = :clip_id RETURNING kind"
)
_DONE = sa.text(
    "UPDATE works SET state = 'done', version = :version, owner = NULL, leased_until = NULL, code = NULL,"
    " detail = NULL, updated_at = now() WHERE clip_id = :clip_id AND owner = :token RETURNING kind"
)
_GIVE_BACK = sa.text(
    "UPDATE works SET state = 'waiting', attempts = attempts - 1, owner = NULL, leased_until = NULL,"
    " due_at = now() + make_interval(secs => :pause), updated_at = now()"
    " WHERE clip_id = :clip_id AND owner = :token"
)
# Beyond the bound it failed; `:most` 0 makes any failure the last.
_FAIL = sa.text(
    "UPDATE works SET state = CASE WHEN attempts >= :most THEN 'failed' ELSE 'waiting' END,"
    " owner = NULL, leased_until = NULL, due_at = now() + make_interval(secs => :pause), code = :code,"
    " detail = :detail, updated_at = now() WHERE clip_id = :clip_id AND owner = :token RETURNING state"
)
# A lease that ends later than any can was made before the clock of the database was set back; so was a time
# to wait for.
_TAKE_OVER = sa.text(
    "UPDATE works SET state = CASE WHEN attempts >= :most THEN 'failed' ELSE 'waiting' END,"
    " owner = NULL, leased_until = NULL, due_at = now(), code = 'process-ended',"
    " detail = 'The process that did this ended.', updated_at = now()"
    " WHERE (clip_id, kind) IN (SELECT clip_id, kind FROM works WHERE state = 'running'"
    " AND (leased_until < now() OR leased_until > now() + make_interval(secs => 2 * :lease))"
    " LIMIT 100 FOR UPDATE SKIP LOCKED) RETURNING kind, state"
)
_BRING_FORWARD = sa.text(
    "UPDATE works SET due_at = now() WHERE (clip_id, kind) IN (SELECT clip_id, kind FROM works"
    " WHERE state = 'waiting' AND priority IN (0, 1)"
    " AND due_at > now() + make_interval(secs => 2 * :longest) AND due_at < 'infinity'"
    " LIMIT 100 FOR UPDATE SKIP LOCKED)"
)
_AFRESH = (
    "state = 'waiting', attempts = 0, owner = NULL, leased_until = NULL, due_at = now(), code = NULL,"
    " detail = NULL, updated_at = now()"
)
_REPEAT = sa.text(
    "INSERT INTO works (clip_id, kind, priority) SELECT id, wanted.kind, 0 FROM clips, ("  # noqa: S608
    " SELECT unnest(cast(:kinds AS text[])) AS kind UNION"
    " SELECT kind FROM works WHERE clip_id = :clip_id AND :those_there) AS wanted"
    " WHERE id = :clip_id AND blob_key IS NOT NULL AND deleted_at IS NULL"
    f" ON CONFLICT (clip_id, kind) DO UPDATE SET priority = 0, {_AFRESH}"
)
_NEXT_CLIPS = sa.text(
    "SELECT id FROM clips WHERE id > :after AND blob_key IS NOT NULL AND deleted_at IS NULL"
    " ORDER BY id LIMIT :limit FOR KEY SHARE"
)
_REPEAT_ALL = sa.text(
    "INSERT INTO works (clip_id, kind, priority) SELECT id, :kind, 1"  # noqa: S608
    " FROM unnest(cast(:ids AS uuid[])) AS id ON CONFLICT (clip_id, kind) DO UPDATE"
    f" SET priority = 1, {_AFRESH} WHERE works.state IN ('done', 'failed') RETURNING clip_id"
)
_ADD_MISSING = sa.text(
    "INSERT INTO works (clip_id, kind, priority) SELECT id, kind, 1"
    " FROM unnest(cast(:ids AS uuid[])) AS id, unnest(cast(:kinds AS text[])) AS kind"
    " WHERE NOT EXISTS (SELECT FROM works WHERE works.clip_id = id AND works.kind = kind.kind)"
    " ON CONFLICT DO NOTHING RETURNING clip_id"
)


async def take(
    connection: AsyncConnection,
    groups: Collection[Sequence[str]],
    *,
    priority: int,
    token: UUID,
    lease_seconds: float,
) -> Taken | None:
    """The works that have been due longest, all of one clip and one of the `groups` of kinds; None when there
    are none. No clip is in the hands of two."""
    kinds = [kind for group in groups for kind in group]
    for _ in range(_TRIES):
        chosen = (await connection.execute(_CHOOSE, {"priority": priority, "kinds": kinds})).first()
        if chosen is None:
            return None
        group = next(list(group) for group in groups if chosen.kind in group)
        given = {"clip_id": chosen.clip_id, "kinds": group, "token": token, "lease": float(lease_seconds)}
        rows = (await connection.execute(_TAKE, given)).all()
        clip = await clips.get(connection, chosen.clip_id)
        if rows and clip is not None:
            names = tuple(sorted(row.kind for row in rows))
            return Taken(clip, token, names, max(row.attempts for row in rows), priority)
        # Another process had taken them between the snapshot of the first statement and the lock.
    return None


async def renew(connection: AsyncConnection, taken: Taken, *, lease_seconds: float) -> bool:
    """Put the end of the lease off; False when another process has the works by now, or no process has."""
    given = {"clip_id": taken.clip.id, "token": taken.token, "lease": float(lease_seconds)}
    return bool((await connection.execute(_RENEW, given)).all())


async def finish(connection: AsyncConnection, taken: Taken, *, version: int) -> tuple[str, ...]:
    """Mark those as done that are still the owner's, and say which. To be called before what was learnt is
    written, with the clip locked."""
    given = {"clip_id": taken.clip.id, "token": taken.token, "version": version}
    return tuple((await connection.scalars(_DONE, given)).all())


async def give_back(connection: AsyncConnection, taken: Taken, *, pause_seconds: float = 0) -> None:
    """Let others take them, as if this had not been tried; not before so many seconds have passed."""
    given = {"clip_id": taken.clip.id, "token": taken.token, "pause": float(pause_seconds)}
    await connection.execute(_GIVE_BACK, given)


async def fail(
    connection: AsyncConnection,
    taken: Taken,
    *,
    code: str,
    detail: str,
    most_attempts: int,
    pause_seconds: float,
) -> State | None:
    """Note why they could not be learnt: they wait for the next attempt, or they have failed after so many.
    Returns which; None when they are no longer the owner's."""
    given = {
        "clip_id": taken.clip.id,
        "token": taken.token,
        "code": code,
        "detail": detail.replace("\x00", "")[:MAX_DETAIL],
        "most": most_attempts,
        "pause": float(pause_seconds),
    }
    states = (await connection.scalars(_FAIL, given)).all()
    return "failed" if "failed" in states else "waiting" if states else None


async def take_over(
    connection: AsyncConnection, *, most_attempts: int, lease_seconds: float, longest_pause: float
) -> list[tuple[str, State]]:
    """Let those be taken again whose owner has ended; returns the kind of each, and what it is now."""
    given = {"most": most_attempts, "lease": float(lease_seconds)}
    rows = (await connection.execute(_TAKE_OVER, given)).all()
    await connection.execute(_BRING_FORWARD, {"longest": float(longest_pause)})
    return [(row.kind, row.state) for row in rows]


async def repeat(
    connection: AsyncConnection, clip_id: UUID, kinds: Collection[str], *, those_there: bool = False
) -> int:
    """Learn these of the clip (again), and with `those_there` all that there is a row of. What a process is
    learning just now is dropped. Says how many that are: none of an external clip, or one in the trash. The
    clip must be locked."""
    given = {"clip_id": clip_id, "kinds": list(kinds), "those_there": those_there}
    return int((await connection.execute(_REPEAT, given)).rowcount)


async def repeat_all(
    connection: AsyncConnection, kind: str, *, after: UUID, limit: int
) -> tuple[UUID | None, int]:
    """Learn this of so many clips (again), in the order of their ids; those that wait for it or are at it
    stay as they are. Returns the last id (None: there are no more clips) and how many works that made."""
    ids = await _next_clips(connection, after, limit)
    if not ids:
        return None, 0
    made = (await connection.scalars(_REPEAT_ALL, {"ids": ids, "kind": kind})).all()
    return ids[-1], len(made)


async def add_missing(
    connection: AsyncConnection, kinds: Collection[str], *, after: UUID, limit: int
) -> tuple[UUID | None, int]:
    """Make the rows that so many clips lack; returns like `repeat_all`."""
    ids = await _next_clips(connection, after, limit)
    if not ids:
        return None, 0
    made = (await connection.scalars(_ADD_MISSING, {"ids": ids, "kinds": list(kinds)})).all()
    return ids[-1], len(made)


async def _next_clips(connection: AsyncConnection, after: UUID, limit: int) -> list[UUID]:
    return list((await connection.scalars(_NEXT_CLIPS, {"after": after, "limit": limit})).all())


async def of_clip(connection: AsyncConnection, clip_id: UUID) -> list[Work]:
    """In the order of their kinds."""
    columns = [works.c[name] for name in Work.__dataclass_fields__]
    statement = (
        sa.select(*columns).where(works.c.clip_id == clip_id).order_by(works.c.kind).limit(_MOST_KINDS)
    )
    return [Work(**row._mapping) for row in await connection.execute(statement)]


async def tell(connection: AsyncConnection) -> None:
    """Say to all processes, with the commit, that there are works."""
    await connection.execute(sa.select(sa.func.pg_notify(WORKS_CHANNEL, "")))
