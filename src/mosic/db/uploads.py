"""Rows of `uploads`: what the staged file of a resumable upload cannot say."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.db.tables import uploads


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A resumable upload as its row was when read.

    `confirmed` bytes of its file are on the disk for good; `rest_counts` says whether those behind them count
    once they are as well. Its outcome is `clip_id`, or `refused_code` and `refused_detail` when its bytes did
    not make a clip; both are None until it has all its bytes. `expired` goes by the clock of the database,
    and never says so of one that has become a clip.
    """

    id: UUID
    length: int | None
    raw_metadata: str
    hints: Mapping[str, Any]
    sha256: bytes | None
    writer: UUID | None
    file_id: UUID
    confirmed: int
    rest_counts: bool
    clip_id: UUID | None
    refused_code: str | None
    refused_detail: str | None
    expires_at: datetime
    key_name: str | None
    expired: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """How many uploads have no outcome and have not expired, the bytes that they declared, and how many of
    those are not confirmed yet."""

    count: int
    count_of_key: int
    declared: int
    declared_of_key: int
    missing: int


# Any fixed number that is no other lock's: who adds up what is unfinished holds this advisory lock.
_WEIGHING_LOCK = 0x6D6F73696375
_UNSETTLED = sa.and_(uploads.c.clip_id.is_(None), uploads.c.refused_code.is_(None))
_EXPIRED = sa.and_(uploads.c.clip_id.is_(None), uploads.c.expires_at <= sa.func.now())
_COLUMNS = (
    *(column for column in uploads.c if column.name != "created_at"),
    _EXPIRED.label("expired"),
)


def _in(seconds: float) -> Any:
    return sa.func.now() + sa.func.make_interval(0, 0, 0, 0, 0, 0, float(seconds))


async def _first(connection: AsyncConnection, statement: Any) -> Upload | None:
    row = (await connection.execute(statement)).first()
    return Upload(**row._mapping) if row else None


async def insert(
    connection: AsyncConnection,
    upload_id: UUID,
    *,
    length: int | None,
    raw_metadata: str,
    hints: Mapping[str, Any],
    sha256: bytes | None,
    key_name: str | None,
    expiry_seconds: float,
) -> Upload:
    statement = sa.insert(uploads).values(
        id=upload_id,
        length=length,
        raw_metadata=raw_metadata,
        hints=hints,
        sha256=sha256,
        file_id=upload_id,
        key_name=key_name,
        expires_at=_in(expiry_seconds),
    )
    upload = await _first(connection, statement.returning(*_COLUMNS))
    assert upload is not None
    return upload


async def get(connection: AsyncConnection, upload_id: UUID) -> Upload | None:
    return await _first(connection, sa.select(*_COLUMNS).where(uploads.c.id == upload_id))


async def replace_writer(
    connection: AsyncConnection,
    upload_id: UUID,
    *,
    held: Upload,
    by: UUID | None,
    length: int | None,
    confirmed: int,
    rest_counts: bool,
    expiry_seconds: float,
) -> Upload | None:
    """Put the token `by` in the place of the one in `held`, settle the length and what is confirmed, and put
    off the end.

    None when the token or what was confirmed is another than in `held`, or the upload has come to an outcome
    or is gone: of all who try to replace the same token one succeeds.
    """
    statement = (
        sa.update(uploads)
        .where(
            uploads.c.id == upload_id,
            uploads.c.writer.is_not_distinct_from(held.writer),
            uploads.c.confirmed == held.confirmed,
            uploads.c.clip_id.is_(None),
            uploads.c.refused_code.is_(None),
        )
        .values(
            writer=by,
            length=length,
            confirmed=confirmed,
            rest_counts=rest_counts,
            expires_at=_in(expiry_seconds),
        )
    )
    return await _first(connection, statement.returning(*_COLUMNS))


async def count_no_rest(connection: AsyncConnection, held: Upload) -> None:
    """From now on only what was confirmed counts, unless somebody else has come meanwhile."""
    await connection.execute(
        sa.update(uploads)
        .where(
            uploads.c.id == held.id,
            uploads.c.writer.is_not_distinct_from(held.writer),
            uploads.c.confirmed == held.confirmed,
        )
        .values(rest_counts=False)
    )


async def move(connection: AsyncConnection, upload_id: UUID, *, held: UUID, file_id: UUID) -> Upload | None:
    """Let the upload go on in another file; None when another token than `held` stands there."""
    statement = (
        sa.update(uploads)
        .where(uploads.c.id == upload_id, uploads.c.writer == held)
        .values(file_id=file_id)
        .returning(*_COLUMNS)
    )
    return await _first(connection, statement)


async def settle(connection: AsyncConnection, upload_id: UUID, clip_id: UUID) -> Upload | None:
    """Note the clip that the upload became, unless it has an outcome; None when the upload is gone."""
    return await _end(connection, upload_id, clip_id=clip_id)


async def refuse(connection: AsyncConnection, upload_id: UUID, code: str, detail: str) -> Upload | None:
    """Note why the bytes did not make a clip, unless there is an outcome; None when the upload is gone."""
    return await _end(connection, upload_id, refused_code=code, refused_detail=detail)


async def _end(connection: AsyncConnection, upload_id: UUID, **outcome: Any) -> Upload | None:
    statement = (
        sa.update(uploads)
        .where(uploads.c.id == upload_id, uploads.c.clip_id.is_(None), uploads.c.refused_code.is_(None))
        .values(**outcome, writer=None)
        .returning(*_COLUMNS)
    )
    return await _first(connection, statement) or await get(connection, upload_id)


async def writers(
    connection: AsyncConnection, upload_ids: Iterable[UUID], *, expiry_seconds: float
) -> dict[UUID, UUID | None]:
    """The token of each of these uploads that exists. Being written to, they are kept from expiring."""
    wanted = uploads.c.id.in_(list(upload_ids))
    late = uploads.c.expires_at < _in(expiry_seconds * 0.75)
    await connection.execute(sa.update(uploads).where(wanted, late).values(expires_at=_in(expiry_seconds)))
    rows = await connection.execute(sa.select(uploads.c.id, uploads.c.writer).where(wanted))
    return {row.id: row.writer for row in rows}


async def delete(connection: AsyncConnection, upload_id: UUID, *, held: UUID | None) -> bool:
    """Remove the row, unless another token than `held` stands in it."""
    statement = sa.delete(uploads).where(
        uploads.c.id == upload_id, uploads.c.writer.is_not_distinct_from(held)
    )
    return (await connection.execute(statement)).rowcount == 1


async def unfinished(connection: AsyncConnection, key_name: str | None) -> Unfinished:
    """What is unfinished now, of all and of one key. No other one adds it up until the transaction ends, so
    that what is then added is counted by the next."""
    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WEIGHING_LOCK)))
    declared = sa.func.coalesce(uploads.c.length, uploads.c.confirmed)
    own = uploads.c.key_name.is_not_distinct_from(key_name)

    def total(bytes_of: Any) -> Any:
        return sa.func.coalesce(sa.func.sum(bytes_of), 0)

    statement = sa.select(
        sa.func.count().label("count"),
        sa.func.count().filter(own).label("count_of_key"),
        total(declared).label("declared"),
        sa.func.coalesce(sa.func.sum(declared).filter(own), 0).label("declared_of_key"),
        total(declared - uploads.c.confirmed).label("missing"),
    ).where(_UNSETTLED, sa.not_(_EXPIRED))
    row = (await connection.execute(statement)).one()
    return Unfinished(**{name: int(value) for name, value in row._mapping.items()})


async def delete_expired(connection: AsyncConnection, *, limit: int) -> list[UUID]:
    """Remove the rows of up to `limit` that have expired and say which were their files."""
    some = sa.select(uploads.c.id).where(_EXPIRED).limit(limit).scalar_subquery()
    statement = sa.delete(uploads).where(uploads.c.id.in_(some), _EXPIRED).returning(uploads.c.file_id)
    return list((await connection.scalars(statement)).all())


async def unsettled(connection: AsyncConnection, *, limit: int, after: UUID | None) -> list[Upload]:
    """Up to `limit` uploads without an outcome, the oldest first, from just behind the one `after`."""
    statement = sa.select(*_COLUMNS).where(_UNSETTLED).order_by(uploads.c.id).limit(limit)
    if after is not None:
        statement = statement.where(uploads.c.id > after)
    return [Upload(**row._mapping) for row in await connection.execute(statement)]


async def unsettled_files(connection: AsyncConnection, file_ids: Collection[UUID]) -> set[UUID]:
    """Those of the files that an upload without an outcome has."""
    statement = sa.select(uploads.c.file_id).where(_UNSETTLED, uploads.c.file_id.in_(file_ids))
    return set((await connection.scalars(statement)).all())
