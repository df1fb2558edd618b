"""Store and database belong together by an id that both have: docs/decisions/0019-identity.md.

Nothing is swept, saved, restored or uploaded before it is certain that they do. The id is written into the
database first, as one that the store has still to hear of, then into the store, then confirmed: a process
that dies in between leaves what the next start brings to its end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from mosic.blobs.base import BlobStore, HasIdentity, LastingStore
from mosic.blobs.identity import IDENTITY_NAME, StoreIdentity
from mosic.db import blobs as blob_rows
from mosic.db import identity
from mosic.db.engine import begin
from mosic.db.identity import Service
from mosic.errors import StartupError

_log = structlog.get_logger("mosic.identity")

_ROWS_AT_ONCE = 500
_ADOPT = "To use it with this database as it is: `mosic adopt-store`."


class ForeignStore(Exception):
    """Store and database do not belong together; the message is a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a store holds, against what its database knows. `example` is one that it does not know."""

    held: int = 0
    wanted: int = 0
    unknown: int = 0
    example: str | None = None


async def settle(engine: AsyncEngine, blobs: BlobStore, place: str, *, known: Collection[str] = ()) -> None:
    """Make sure that the store is this database's own; one without an identity is adopted if it can be.

    It can be if the database never had a store with one, and if it holds no blob that the database does not
    know (or that is in `known`), and at least half of those that it does: an empty folder is no store of a
    database in use. `place` names the store for the operator. Raises `StartupError` with what to do,
    `Unavailable` when database or store are away.
    """
    async with begin(engine) as connection:
        service = await identity.get_or_make(connection)
    try:
        if not isinstance(blobs, HasIdentity):
            # Such a store is never the database's own: it goes with this process.
            if service.store_id is not None:
                raise ForeignStore(
                    f"{place} begins empty, but the blobs of this database are in another store: name that "
                    "one, or another database."
                )
            return
        found = await _read(blobs, place)
        if found is None:
            found = await _adopt_unclaimed(engine, blobs, place, known)
        await _match(engine, found, place)
    except ForeignStore as error:
        raise StartupError(str(error)) from None


async def _match(engine: AsyncEngine, found: StoreIdentity, place: str) -> None:
    async with begin(engine) as connection:
        service = await identity.get_or_make(connection)
        if found.id != service.store_id:
            raise ForeignStore(_other(place, service))
        if not service.adopted:
            await identity.note_adoption(connection, found.id)


async def check(engine: AsyncEngine, blobs: BlobStore) -> None:
    """Prove that they still belong together, as disks are unmounted and stores adopted under a service.

    Raises `ForeignStore`, `Unavailable`.
    """
    found = await _read(blobs, "The store") if isinstance(blobs, HasIdentity) else None
    async with begin(engine) as connection:
        service = await identity.get(connection)
    if not isinstance(blobs, HasIdentity) and service is not None and service.store_id is None:
        return
    if found is None:
        raise ForeignStore(f"The store has lost its identity ({IDENTITY_NAME}): is its disk mounted?")
    if service is None or found.id != service.store_id:
        raise ForeignStore("The store now belongs to another database.")


async def look(engine: AsyncEngine, blobs: BlobStore, known: Collection[str] = ()) -> Found:
    """Compare all that the store holds with what the database knows."""
    held = unknown = 0
    example = None
    async with begin(engine) as connection:
        wanted = await blob_rows.count(connection)
    async for batch in _batches(blobs):
        async with begin(engine) as connection:
            strange = await blob_rows.unknown(connection, batch)
            held += len(batch) - len(await blob_rows.without_reference(connection, batch))
        strange = [blob_key for blob_key in strange if blob_key not in known]
        unknown += len(strange)
        example = example or next(iter(strange), None)
    return Found(held, wanted, unknown, example)


async def is_own(engine: AsyncEngine, blobs: BlobStore) -> bool:
    """Whether store and database have the same id already."""
    try:
        await check(engine, blobs)
    except ForeignStore:
        return False
    return True


async def adopt(engine: AsyncEngine, blobs: BlobStore) -> None:
    """Make the store this database's own, whatever it says of itself and whatever it holds.

    Its id is a new one, so that a database which had it before notices. Repeatable after a crash.
    """
    assert isinstance(blobs, HasIdentity)  # one in memory is nobody's to adopt
    store_id = uuid4()
    async with begin(engine) as connection:
        await identity.get_or_make(connection)
        await identity.replace_store(connection, store_id)
    await blobs.write_identity(
        StoreIdentity(id=store_id, adopted_at=datetime.now(UTC)).to_bytes(), replace=True
    )
    async with begin(engine) as connection:
        await identity.note_adoption(connection, store_id)
    _log.warning("the store was adopted", store=str(store_id))


async def _adopt_unclaimed(
    engine: AsyncEngine, blobs: LastingStore, place: str, known: Collection[str]
) -> StoreIdentity:
    """Give the store the identity that it has not, or find the one that it has got meanwhile: several
    processes of a service may start at once, and the quickest may be at work there already."""
    refusal = _empty(place)
    async with begin(engine) as connection:
        adopted = (await identity.get_or_make(connection)).adopted
    if not adopted:
        found = await look(engine, blobs, known)
        if found.unknown or 2 * found.held < found.wanted:
            refusal = _unclaimed(place, found)
        else:
            async with begin(engine) as connection:
                await identity.propose_store(connection, uuid4())
            if (mine := await _identify(engine, blobs)) is not None:
                return mine
    if (quicker := await _read(blobs, place)) is not None:
        return quicker
    raise ForeignStore(refusal)


async def _identify(engine: AsyncEngine, blobs: HasIdentity) -> StoreIdentity | None:
    """One at a time on a database, so that it never comes to have two stores. None when it has one."""
    async with begin(engine) as connection:
        service = await identity.get(connection, lock=True)
        if service is None or service.store_id is None or service.adopted:
            return None
        mine = StoreIdentity(id=service.store_id, adopted_at=datetime.now(UTC))
        if not await blobs.write_identity(mine.to_bytes()):
            return None
        await identity.note_adoption(connection, mine.id)
    _log.info("the store has an identity now", store=str(mine.id))
    return mine


async def _read(blobs: HasIdentity, place: str) -> StoreIdentity | None:
    content = await blobs.read_identity()
    if content is None:
        return None
    try:
        return StoreIdentity.from_bytes(content)
    except ValueError:
        raise ForeignStore(
            f"{place}: {IDENTITY_NAME} is damaged, so the owner of the store is unknown. Restore this "
            f"file from a copy. {_ADOPT}"
        ) from None


def _other(place: str, service: Service) -> str:
    had = "never had a store" if service.store_id is None else "has another one"
    return (
        f"{place} is the store of another database, and this database {had}: name the two that belong "
        f"together. {_ADOPT}"
    )


def _empty(place: str) -> str:
    return (
        f"{place} has no {IDENTITY_NAME}, but this database has a store already: is its disk mounted, and is "
        f"this the folder? {_ADOPT}"
    )


def _unclaimed(place: str, found: Found) -> str:
    if found.unknown:
        return (
            f"{place} holds blobs that this database does not know (such as {found.example}), and no "
            f"{IDENTITY_NAME} that says whose they are: is this the database that belongs to it? {_ADOPT}"
        )
    return (
        f"{place} holds {found.held} of the {found.wanted} blobs that this database knows, and no "
        f"{IDENTITY_NAME}: is its disk mounted? {_ADOPT}"
    )


async def _batches(blobs: BlobStore) -> AsyncIterator[list[str]]:
    batch: list[str] = []
    async for blob_key in blobs.keys():
        batch.append(blob_key)
        if len(batch) == _ROWS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
