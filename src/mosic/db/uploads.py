"""Rows of `uploads`: what the staged file of a resumable upload cannot say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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

    Its outcome is `clip_id`, or `refused_code` and `refused_detail` when its bytes did not make a clip; both
    are None until it has all its bytes. `expired` goes by the clock of the database, and never says so of one
    that has become a clip.
    """

    id: UUID
    length: int | None
    raw_metadata: str
    hints: Mapping[str, Any]
    sha256: bytes | None
    writer: UUID | None
    file_id: UUID
    clip_id: UUID | None
    refused_code: str | None
    refused_detail: str | None
    expires_at: datetime
    expired: bool


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
    expiry_seconds: float,
) -> Upload:
    statement = sa.insert(uploads).values(
        id=upload_id,
        length=length,
        raw_metadata=raw_metadata,
        hints=hints,
        sha256=sha256,
        file_id=upload_id,
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
    held: UUID | None,
    by: UUID | None,
    length: int | None,
    expiry_seconds: float,
) -> Upload | None:
    """Put the token `by` in the place of `held`, settle the length, and put off the end.

    None when another token stands there, or the upload has come to an outcome or is gone: of all who try to
    replace the same token one succeeds.
    """
    statement = (
        sa.update(uploads)
        .where(
            uploads.c.id == upload_id,
            uploads.c.writer.is_not_distinct_from(held),
            uploads.c.clip_id.is_(None),
            uploads.c.refused_code.is_(None),
        )
        .values(writer=by, length=length, expires_at=_in(expiry_seconds))
    )
    return await _first(connection, statement.returning(*_COLUMNS))


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


async def delete_expired(connection: AsyncConnection) -> list[UUID]:
    """Remove the rows of all that have expired and say which were their files."""
    statement = sa.delete(uploads).where(_EXPIRED).returning(uploads.c.file_id)
    return list((await connection.scalars(statement)).all())


async def unsettled(connection: AsyncConnection) -> list[Upload]:
    """Every upload without an outcome, the oldest first."""
    statement = sa.select(*_COLUMNS).where(uploads.c.clip_id.is_(None), uploads.c.refused_code.is_(None))
    return [Upload(**row._mapping) for row in await connection.execute(statement.order_by(uploads.c.id))]
