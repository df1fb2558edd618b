"""Rows of `blobs`: what is in the store, what refers to it, and how uploads and the sweep agree on the rest.

A row is made in the transaction of the first reference to it, and removed in that of the last one's removal;
so a table that refers to blobs has a foreign key to `blobs`, and is then known here.

Each key is either claimed, by the insert of its row (there is a trigger), or marked as swept. Both take an
advisory lock for their short transaction, so one of them comes first and the other sees it. Why this holds
however long a process was stopped: docs/decisions/0006-sweep.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mosic.db.engine import acquired
from mosic.db.state import UNOBSERVED, Observer
from mosic.db.tables import blobs, clips, metadata

# Any fixed number that is not the one of `mosic.db.migrate`: the sweep holds this advisory lock.
_SWEEP_LOCK = 0x6D6F73696373
_LOCK_SECONDS = 10.0

# Raised by the function `claim_blob`, which two triggers call.
SWEPT_STATE = "MO001"


class BlobSwept(Exception):
    """No row may have this key any more: docs/decisions/0006-sweep.md."""


def _references() -> sa.Subquery:
    """All that refers to a blob, and the clip that it is for: every foreign key to `blobs` that there is."""
    found = []
    for table in metadata.sorted_tables:
        clip_id = "id" if table is clips else "clip_id"
        for key in table.foreign_keys:
            if key.column is blobs.c.key:
                selected = sa.select(key.parent.label("blob_key"), table.c[clip_id].label("clip_id"))
                found.append(selected.where(key.parent.is_not(None)))
    return sa.union_all(*found).subquery("blob_references")


_REFERENCES = _references()
_IS_REFERRED_TO = sa.exists().where(_REFERENCES.c.blob_key == blobs.c.key)
_KEYS = sa.bindparam("blob_keys", type_=ARRAY(sa.Text))
_GIVEN = sa.func.unnest(_KEYS).table_valued("blob_key", name="given").render_derived()

_WITHOUT_REFERENCE = sa.select(_GIVEN.c.blob_key).where(
    ~sa.exists().where(_REFERENCES.c.blob_key == _GIVEN.c.blob_key)
)
_SHA256 = sa.bindparam("sha256", type_=sa.LargeBinary)
_LOCK_ROWS = (
    sa.select(blobs.c.key)
    .where((blobs.c.key == sa.any_(_KEYS)) | (blobs.c.sha256 == _SHA256))
    .order_by(blobs.c.key)
    .with_for_update()
)
_REMOVE_ROWS = sa.delete(blobs).where(blobs.c.key == sa.any_(_KEYS), ~_IS_REFERRED_TO).returning(blobs.c.key)
_LOCK_IDLE_KEYS = sa.text(
    "SELECT blob_key FROM unnest(:blob_keys) AS given (blob_key)"
    " WHERE pg_try_advisory_xact_lock(1836016243, hashtext(blob_key) & 511)"
).bindparams(_KEYS)
# What an earlier sweep marked but did not live to remove is marked again.
_MARK_SWEPT = sa.text(
    "INSERT INTO swept_blobs (blob_key) SELECT blob_key FROM unnest(:blob_keys) AS given (blob_key)"
    " WHERE NOT EXISTS (SELECT FROM blobs WHERE key = given.blob_key)"
    " ON CONFLICT (blob_key) DO UPDATE SET swept_at = now() RETURNING blob_key"
).bindparams(_KEYS)
_UNKNOWN = sa.text(
    "SELECT blob_key FROM unnest(:blob_keys) AS given (blob_key)"
    " WHERE NOT EXISTS (SELECT FROM blobs WHERE key = given.blob_key)"
    " AND NOT EXISTS (SELECT FROM swept_blobs WHERE swept_blobs.blob_key = given.blob_key)"
).bindparams(_KEYS)
# A day more than the trigger has, for a clock that is set back. Both are the database's, and the key itself
# has the time that counts; what is still in the store is found and marked again.
_DROP_OLD_MARKS = sa.text(
    "DELETE FROM swept_blobs WHERE substr(blob_key, 13, 1) = '7' AND greatest("
    " swept_at, to_timestamp(('x0000' || left(blob_key, 12))::bit(64)::bigint / 1000.0)"
    ") < now() - interval '31 days'"
)


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob that something refers to: what the catalogue says of its bytes, and a clip that it is for."""

    key: str
    size: int
    sha256: bytes
    clip_id: UUID


async def add(connection: AsyncConnection, key: str, *, sha256: bytes, size: int, media_type: str) -> str:
    """Make the row, or find the one with the same bytes; returns its key, which nobody removes until the
    transaction ends. Raises `BlobSwept`."""
    row = insert(blobs).values(key=key, sha256=sha256, size=size, media_type=media_type)
    # An update that changes nothing: it locks the row, and waits for those who are removing or making it.
    found_or_made = row.on_conflict_do_update(
        index_elements=[blobs.c.sha256], set_={"media_type": blobs.c.media_type}
    ).returning(blobs.c.key)
    return str(await _claiming(connection, found_or_made))


async def change_key(connection: AsyncConnection, old: str, new: str) -> None:
    """The same bytes are to be found under another key; all that refers to them follows. Raises
    `BlobSwept`."""
    await _claiming(
        connection, sa.update(blobs).where(blobs.c.key == old).values(key=new).returning(blobs.c.key)
    )


async def _claiming(connection: AsyncConnection, statement: sa.Executable) -> Any:
    try:
        return await connection.scalar(statement)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == SWEPT_STATE:
            raise BlobSwept from error
        raise


async def lock(
    connection: AsyncConnection, keys: Sequence[str | None], *, and_of: bytes | None = None
) -> None:
    """To be called before a reference is removed: `add` locks the row before it makes one, and two who do it
    in another order could wait for each other. Who will `add` as well gives the SHA-256 (`and_of`): all rows
    are locked in the order of their keys."""
    given = {"blob_keys": [key for key in keys if key is not None], "sha256": and_of}
    await connection.execute(_LOCK_ROWS, given)


async def of_clips(connection: AsyncConnection, clip_ids: Sequence[UUID]) -> list[str]:
    """The keys of all blobs that these clips have, of whatever kind."""
    wanted = sa.select(_REFERENCES.c.blob_key).where(_REFERENCES.c.clip_id.in_(clip_ids)).distinct()
    return list((await connection.scalars(wanted)).all())


async def release(connection: AsyncConnection, keys: Sequence[str | None]) -> list[str]:
    """To be called once a reference was removed: removes the rows to which nothing refers any more. Returns
    their keys, whose bytes may be removed after the commit."""
    given = [key for key in keys if key is not None]
    if not given:
        return []
    # By itself: the next statement then sees the references of all who had the rows locked.
    await lock(connection, given)
    return list((await connection.scalars(_REMOVE_ROWS, {"blob_keys": given})).all())


async def release_all(connection: AsyncConnection) -> None:
    """`release` for every row: what a removal by hand, or a cascade, has left."""
    left = sa.select(blobs.c.key).where(~_IS_REFERRED_TO)
    await release(connection, (await connection.scalars(left)).all())


async def mark_swept(connection: AsyncConnection, keys: Sequence[str]) -> list[str]:
    """Those of the keys that nothing refers to and, once this is committed, nothing ever will: their bytes
    may be removed.

    Keys whose insert is or may be under way are left out. Inserts wait meanwhile, so give it hundreds of
    keys, not thousands.
    """
    idle = list((await connection.scalars(_LOCK_IDLE_KEYS, {"blob_keys": list(keys)})).all())
    await release(connection, idle)
    return list((await connection.scalars(_MARK_SWEPT, {"blob_keys": idle})).all())


async def drop_old_marks(connection: AsyncConnection) -> None:
    """Of keys that are too old to get a row anyway (the trigger `claim_blob`)."""
    await connection.execute(_DROP_OLD_MARKS)


async def without_reference(connection: AsyncConnection, keys: Sequence[str]) -> list[str]:
    """Those of the keys that nothing refers to at the moment."""
    return list((await connection.scalars(_WITHOUT_REFERENCE, {"blob_keys": list(keys)})).all())


async def unknown(connection: AsyncConnection, keys: Sequence[str]) -> list[str]:
    """Those of the keys that have no row and were not removed by a sweep."""
    return list((await connection.scalars(_UNKNOWN, {"blob_keys": list(keys)})).all())


async def count(connection: AsyncConnection) -> int:
    """How many blobs something refers to."""
    return await connection.scalar(sa.select(sa.func.count()).select_from(blobs).where(_IS_REFERRED_TO)) or 0


async def page(
    connection: AsyncConnection, *, limit: int, after: str | None, trashed: bool = True
) -> list[StoredBlob]:
    """Up to `limit` blobs that something refers to, in the order of their keys, from just behind `after`.
    Those that only clips in the trash have are left out unless `trashed` is asked for."""
    statement = _stored(trashed=trashed).order_by(blobs.c.key).limit(limit)
    if after is not None:
        statement = statement.where(blobs.c.key > after)
    return [StoredBlob(**row._mapping) for row in await connection.execute(statement)]


async def get(connection: AsyncConnection, key: str) -> StoredBlob | None:
    """The blob, if something refers to it."""
    row = (await connection.execute(_stored(trashed=True).where(blobs.c.key == key))).first()
    return StoredBlob(**row._mapping) if row else None


def _stored(*, trashed: bool) -> sa.Select[Any]:
    owner = sa.select(_REFERENCES.c.clip_id).where(_REFERENCES.c.blob_key == blobs.c.key)
    if not trashed:
        owner = owner.join(clips, clips.c.id == _REFERENCES.c.clip_id).where(clips.c.deleted_at.is_(None))
    first = owner.order_by(_REFERENCES.c.clip_id).limit(1).lateral("owner")
    return sa.select(blobs.c.key, blobs.c.size, blobs.c.sha256, first.c.clip_id).join(first, sa.true())


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
