"""Who this service is, and which store it has: the one row of `service`."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.db.tables import service

_CURRENT = sa.select(service.c.id, service.c.store_id, service.c.store_adopted_at.is_not(None))


@dataclass(frozen=True, slots=True)
class Service:
    """The row. `store_id` is None while it never had a store; `adopted`: the store knows of it."""

    id: UUID
    store_id: UUID | None
    adopted: bool


async def get(connection: AsyncConnection, *, lock: bool = False) -> Service | None:
    """The row; with `lock` nobody else has it so until the transaction ends."""
    row = (await connection.execute(_CURRENT.with_for_update() if lock else _CURRENT)).first()
    return Service(*row) if row else None


async def get_or_make(connection: AsyncConnection) -> Service:
    """The row, made when there is none."""
    await connection.execute(insert(service).on_conflict_do_nothing())
    found = await get(connection)
    assert found is not None
    return found


async def propose_store(connection: AsyncConnection, store_id: UUID) -> UUID:
    """The id that the store is to have, or has: this one where there was none."""
    settled = sa.func.coalesce(service.c.store_id, store_id)
    chosen = await connection.scalar(
        sa.update(service).values(store_id=settled).returning(service.c.store_id)
    )
    assert isinstance(chosen, UUID)
    return chosen


async def replace_store(connection: AsyncConnection, store_id: UUID) -> None:
    """From now on this is the store, which has still to hear of it."""
    await connection.execute(sa.update(service).values(store_id=store_id, store_adopted_at=None))


async def note_adoption(connection: AsyncConnection, store_id: UUID) -> None:
    """The store has this id now."""
    await connection.execute(
        sa.update(service)
        .where(service.c.store_id == store_id, service.c.store_adopted_at.is_(None))
        .values(store_adopted_at=sa.func.now())
    )


async def bring_back(connection: AsyncConnection, row: Service, service_id: UUID) -> None:
    """Make the row again with its store, under the id of the service that it goes on as."""
    await connection.execute(sa.delete(service))
    adopted_at = sa.func.now() if row.adopted else None
    await connection.execute(
        sa.insert(service).values(id=service_id, store_id=row.store_id, store_adopted_at=adopted_at)
    )
