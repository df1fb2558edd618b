"""Which blobs the catalogue knows, and how an insert and the sweep agree on one that it does not.

Each blob key is either claimed, by the insert of its clip (there is a trigger), or doomed, by the sweep. Both
take an advisory lock for their short transaction, so one of them comes first and the other sees it. Why this
holds however long a process was stopped: docs/decisions/0006-sweep.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mosic.db.engine import acquired
from mosic.db.state import UNOBSERVED, Observer
from mosic.db.tables import clips

# Any fixed number that is not the one of `mosic.db.migrate`: whoever sweeps holds this advisory lock.
_SWEEP_LOCK = 0x6D6F73696373
_LOCK_SECONDS = 10.0

_KEYS = sa.bindparam("blob_keys", type_=ARRAY(sa.Text))
_LOCK_WHAT_IS_AT_REST = sa.text(
    "SELECT blob_key FROM unnest(:blob_keys) AS given (blob_key)"
    " WHERE pg_try_advisory_xact_lock(1836016243, hashtext(blob_key) & 511)"
).bindparams(_KEYS)
_WITHOUT_CLIP = (
    "SELECT blob_key FROM unnest(:blob_keys) AS given (blob_key)"
    " WHERE NOT EXISTS (SELECT FROM clips WHERE clips.blob_key = given.blob_key)"
)
_FIND_WITHOUT_CLIP = sa.text(_WITHOUT_CLIP).bindparams(_KEYS)
# What an earlier sweep doomed but did not live to remove is doomed again.
_DOOM = sa.text(
    f"INSERT INTO swept_blobs (blob_key) {_WITHOUT_CLIP}"
    " ON CONFLICT (blob_key) DO UPDATE SET swept_at = now() RETURNING blob_key"
).bindparams(_KEYS)

# A day more than the trigger has, for a clock that is set back. Both are the database's, and the key itself
# has the time that counts; what is still in the store is found and doomed again.
_FORGET = sa.text(
    "DELETE FROM swept_blobs WHERE substr(blob_key, 13, 1) = '7' AND greatest("
    " swept_at, to_timestamp(('x0000' || left(blob_key, 12))::bit(64)::bigint / 1000.0)"
    ") < now() - interval '31 days'"
)


@dataclass(frozen=True, slots=True)
class ClipBytes:
    """What the catalogue says of the bytes of one clip."""

    clip_id: UUID
    title: str
    blob_key: str
    size: int
    sha256: bytes


_BYTES = sa.select(
    clips.c.id.label("clip_id"), clips.c.title, clips.c.blob_key, clips.c.size, clips.c.sha256
).where(clips.c.blob_key.is_not(None))


async def doom(connection: AsyncConnection, blob_keys: Sequence[str]) -> list[str]:
    """Those of the keys that no clip has and, once this is committed, none ever will: they may be removed.

    Keys whose insert is or may be under way, and those that have a clip, are left out. Inserts wait
    meanwhile, so give it hundreds of keys, not thousands.
    """
    at_rest = (await connection.scalars(_LOCK_WHAT_IS_AT_REST, {"blob_keys": list(blob_keys)})).all()
    return list((await connection.scalars(_DOOM, {"blob_keys": list(at_rest)})).all())


async def forget_swept(connection: AsyncConnection) -> None:
    """Drop the notes on blobs that are too old to get a clip anyway (the trigger `claim_blob`)."""
    await connection.execute(_FORGET)


async def without_clip(connection: AsyncConnection, blob_keys: Sequence[str]) -> list[str]:
    """Those of the keys that no clip has at the moment."""
    return list((await connection.scalars(_FIND_WITHOUT_CLIP, {"blob_keys": list(blob_keys)})).all())


async def count(connection: AsyncConnection) -> int:
    """How many blobs the catalogue has clips for."""
    return await connection.scalar(sa.select(sa.func.count(clips.c.blob_key))) or 0


async def page(
    connection: AsyncConnection, *, limit: int, after: UUID | None, trashed: bool = True
) -> list[ClipBytes]:
    """The bytes of up to `limit` clips, the oldest first, from just behind the clip `after`; those in the
    trash are left out unless `trashed` is asked for."""
    statement = _BYTES.order_by(clips.c.id).limit(limit)
    if not trashed:
        statement = statement.where(clips.c.deleted_at.is_(None))
    if after is not None:
        statement = statement.where(clips.c.id > after)
    return [ClipBytes(**row._mapping) for row in await connection.execute(statement)]


async def get(connection: AsyncConnection, clip_id: UUID) -> ClipBytes | None:
    row = (await connection.execute(_BYTES.where(clips.c.id == clip_id))).first()
    return ClipBytes(**row._mapping) if row else None


@asynccontextmanager
async def only_sweeper(engine: AsyncEngine, observer: Observer = UNOBSERVED) -> AsyncIterator[bool]:
    """Whether nobody else sweeps this database; then nobody will until the block ends or the process dies.

    Holds one connection beside the pool, without a transaction: one that no pooler shares. Raises
    `Unavailable` when the database cannot do it for now.
    """
    async with acquired(engine, observer) as connection:
        # Never given back to the pool but closed, and the lock goes with it, however this block ends.
        await connection.run_sync(lambda sync: sync.detach())
        async with asyncio.timeout(_LOCK_SECONDS):
            taken = await connection.scalar(sa.select(sa.func.pg_try_advisory_lock(_SWEEP_LOCK)))
            await connection.commit()
        yield bool(taken)
